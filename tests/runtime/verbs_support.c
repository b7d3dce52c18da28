// verbs_support.c - see verbs_support.h.

#include "verbs_support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

char verb_out[VERB_SAID_MAX], verb_err[VERB_SAID_MAX];
json_t *verb_json;

// ---- running

static char directory[64];

static int delete(const char *path, const struct stat *of, int type, struct FTW *verb_at)
{
    (void)of, (void)type, (void)verb_at;
    return remove(path);
}

static void clean(void)
{
    json_decref(verb_json);
    nftw(directory, delete, 8, FTW_DEPTH | FTW_PHYS);
}

void verb_slurp(const char *path, char *to)
{
    FILE *file = fopen(path, "rb");
    const size_t size = fread(to, 1, VERB_SAID_MAX - 1, file);

    to[size] = 0;
    fclose(file);
}

// Runs `pawl ARGUMENTS` by the shell in the scratch directory; its exit code.
int verb_run(const char *arguments)
{
    char line[4096];

    snprintf(line, sizeof(line), "\"$PAWL\" %s >.out 2>.err </dev/null", arguments);
    const int status = system(line);
    verb_slurp(".out", verb_out);
    verb_slurp(".err", verb_err);
    cr_assert(WIFEXITED(status), "%s was killed", arguments);
    return WEXITSTATUS(status);
}

void verb_expect(int wanted, const char *arguments)
{
    const int status = verb_run(arguments);

    cr_assert_eq(status, wanted, "pawl %s: exit %d, not %d\n%s%s", arguments, status, wanted,
                 verb_out, verb_err);
    if (wanted == 0) cr_assert_str_empty(verb_err, "pawl %s said: %s", arguments, verb_err);
    if (wanted > 1)
        cr_assert_eq(strncmp(verb_err, "pawl: ", 6), 0, "pawl %s said: %s", arguments, verb_err);
}

void verb_said(const char *where, const char *words)
{
    cr_assert(strstr(where, words), "no '%s' in:\n%s", words, where);
}

void verb_expect_json(const char *arguments)
{
    json_error_t error;

    verb_expect(0, arguments);
    json_decref(verb_json);
    verb_json = json_loads(verb_out, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(verb_json, "pawl %s: %s\n%s", arguments, error.text, verb_out);
}

json_t *verb_at(json_t *value, const char *path)
{
    char words[256], *rest = words;

    snprintf(words, sizeof(words), "%s", path);
    for (char *part = strsep(&rest, "."); part; part = strsep(&rest, "."))
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(part))
                                     : json_object_get(value, part);
    cr_assert_not_null(value, "no %s in %s", path, verb_out);
    return value;
}

int64_t verb_number(const char *path)
{
    return (int64_t)json_integer_value(verb_at(verb_json, path));
}

// ---- a run of four snapshots: steps 2, 4, 6, 8

void verb_write_npy(const char *path, const char *shape, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    char head[128];

    snprintf(head, sizeof(head), "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }", shape);
    fprintf(file, "\x93NUMPY%c%cv%c%-117s\n", 1, 0, 0, head);
    fwrite(bytes, 1, size, file);
    fclose(file);
}

void verb_start(void)
{
    const char *pawl = getenv("PAWL");
    char x[64 * 4], y[64];

    cr_assert_not_null(pawl, "PAWL must name the binary");
    snprintf(directory, sizeof(directory), "/tmp/pawl-verbs-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(chdir(directory), 0);
    atexit(clean);
    for (size_t i = 0; i < sizeof(x); i++)
        x[i] = (char)(i * 7 % 251);
    for (size_t i = 0; i < sizeof(y); i++)
        y[i] = (char)(i % 3);
    verb_write_npy("x.npy", "(64, 4)", x, sizeof(x));
    verb_write_npy("y.npy", "(64,)", y, sizeof(y));
    cr_assert_eq(verb_run("train mlp:4-5-3 --data npy:x.npy,y.npy --out r --steps 8 --save-every 2 "
                     "--save-mode sync --keep latest=9 --batch 8 --meta who='\"me\"' --json"), 0,
                 "%s", verb_err);
}

// The directory of a step of run r.
const char *verb_snapshot(int step)
{
    static char path[300];
    DIR *listing = opendir("r");
    const struct dirent *entry;
    char prefix[32];

    snprintf(prefix, sizeof(prefix), "step-%016x-", step);
    path[0] = 0;
    while ((entry = readdir(listing)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            snprintf(path, sizeof(path), "r/%.200s", entry->d_name);
    closedir(listing);
    cr_assert(path[0], "no step %d", step);
    return path;
}

const char *verb_file(int step, const char *name)
{
    static char path[400];

    snprintf(path, sizeof(path), "%s/%s", verb_snapshot(step), name);
    return path;
}

void verb_flip(const char *path, long offset)
{
    FILE *file = fopen(path, "r+b");

    cr_assert_not_null(file, "%s", path);
    fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET);
    const int c = fgetc(file);
    fseek(file, -1, SEEK_CUR);
    fputc(c ^ 1, file);
    fclose(file);
}

// Four known floats: 0, -0, 1.5, NaN.
void verb_write_known(const char *path)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],"
                                 "\"data_offsets\":[0,16]}}";
    static const unsigned char data[] = { 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0xc0, 0x3f, 0, 0, 0xc0,
                                          0x7f };
    const char length[8] = { sizeof(header) - 1 };
    FILE *file = fopen(path, "wb");

    fwrite(length, 1, 8, file);
    fwrite(header, 1, sizeof(header) - 1, file);
    fwrite(data, 1, sizeof(data), file);
    fclose(file);
}
