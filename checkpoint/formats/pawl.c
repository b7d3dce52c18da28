// pawl.c - the format `pawl`: placeholder while the saver lands.
#include "checkpoint/formats/formats.h"
static bool detect(const char *p, const unsigned char *h, size_t n, bool d){(void)p;(void)h;(void)n;(void)d;return false;}
static int read_(struct pawl_document *d,const char *p){(void)d;return pawl_fail(PAWL_ENOTSUP,"%s",p);}
const struct pawl_format pawl_format_pawl = {.name="pawl",.suffixes="",.parts=7,.detect=detect,.read=read_};
