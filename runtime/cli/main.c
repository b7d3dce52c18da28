// main.c - the pawl command.

int main(void)
{
    return 70;
}
