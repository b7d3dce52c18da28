// doctor.c - the verb doctor: what this machine offers, as facts in JSON, from which the lines for
// people are written too.

#include <errno.h>
#include <jansson.h>
#include <linux/io_uring.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/device.h"
#include "kernels/io.h"
#include "kernels/memory.h"
#include "kernels/thread.h"
#include "runtime/cli/disk.h"
#include "runtime/cli/exits.h"
#include "runtime/cli/verbs.h"
#include "runtime/report/words.h"

static const double peak_seconds = 0.3;

// ---- facts

// The device's words are "MODEL, SET, N threads"; only MODEL may hold commas of its own.
static json_t *cpu_facts(struct pawl_device *device)
{
    char words[sizeof(device->words)];

    snprintf(words, sizeof(words), "%s", device->words);
    char *comma = strrchr(words, ',');
    if (comma)
        *comma = '\0';
    comma = strrchr(words, ',');
    const char *set = comma ? comma + 2 : "unknown";
    if (comma)
        *comma = '\0';
    const double peak =
        device->kind->peak_gflops ? device->kind->peak_gflops(device, peak_seconds) : 0;
    return json_pack("{s:s, s:i, s:i, s:s, s:o}", "model", words, "cores", pawl_cores(), "threads",
                     device->threads, "instruction_set", set, "fma_gflops",
                     peak > 0 ? json_real(peak) : json_null());
}

// The number after "NAME:" in /proc/meminfo, in bytes; -1: not there.
static json_int_t meminfo(const char *name)
{
    FILE *file = fopen("/proc/meminfo", "re");
    char line[128];
    long long kib = -1;

    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
            kib = atoll(line + strlen(name) + 1);
    if (file)
        fclose(file);
    return kib < 0 ? -1 : (json_int_t)kib * 1024;
}

// The number in a small file, null when it holds none ("max") or is not there.
static json_t *number_in(const char *path)
{
    FILE *file = fopen(path, "re");
    long long value = 0;
    const bool is = file && fscanf(file, "%lld", &value) == 1;

    if (file)
        fclose(file);
    return is ? json_integer(value) : json_null();
}

static json_t *memory_facts(void)
{
    struct rlimit locked;
    const bool known = !getrlimit(RLIMIT_MEMLOCK, &locked) && locked.rlim_cur != RLIM_INFINITY;

    return json_pack("{s:I, s:I, s:o, s:o}", "total_bytes", meminfo("MemTotal"), "available_bytes",
                     meminfo("MemAvailable"), "limit_bytes", number_in("/sys/fs/cgroup/memory.max"),
                     "memlock_bytes",
                     known ? json_integer((json_int_t)locked.rlim_cur) : json_null());
}

// Asks the kernel for a ring of one entry, which containers often forbid.
static json_t *uring_facts(void)
{
    struct io_uring_params params;

    memset(&params, 0, sizeof(params));
    const long fd = syscall(SYS_io_uring_setup, 1, &params);
    if (fd < 0)
        return json_pack("{s:b, s:s}", "allowed", 0, "why", strerror(errno));
    close((int)fd);
    return json_pack("{s:b, s:n}", "allowed", 1, "why");
}

// The first launcher whose variables are there. The order matters: torchrun inside a Slurm job
// sets its own, and those are the ones that count.
static json_t *launcher_facts(void)
{
    static const struct {
        const char *name, *sign, *rank, *world;
    } launchers[] = {
        { "torchrun", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE" },
        { "open-mpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE" },
        { "pytorchjob", "PET_NNODES", "PET_NODE_RANK", "PET_NNODES" },
        { "pytorchjob", "MASTER_ADDR", "RANK", "WORLD_SIZE" },
        { "slurm", "SLURM_PROCID", "SLURM_PROCID", "SLURM_NTASKS" },
        { "pmi", "PMI_RANK", "PMI_RANK", "PMI_SIZE" },
    };

    for (size_t i = 0; i < sizeof(launchers) / sizeof(launchers[0]); i++) {
        const char *rank = getenv(launchers[i].rank), *world = getenv(launchers[i].world);

        if (getenv(launchers[i].sign) && rank && world)
            return json_pack("{s:s, s:i, s:i}", "kind", launchers[i].name, "rank", atoi(rank),
                             "ranks", atoi(world));
    }
    return json_pack("{s:s, s:i, s:i}", "kind", "single", "rank", 0, "ranks", 1);
}

// A row for each GPU, or null.
static json_t *gpu_facts(void)
{
    json_t *rows = json_array();
    struct pawl_gpu gpu;

    for (int i = 0; !pawl_device_gpu(&gpu, i); i++)
        json_array_append_new(rows, json_pack(
            "{s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i}", "name", gpu.name, "memory_bytes",
            (json_int_t)gpu.bytes, "free_bytes", (json_int_t)gpu.free_bytes, "major", gpu.major,
            "minor", gpu.minor, "multiprocessors", gpu.multiprocessors, "driver", gpu.driver,
            "runtime", gpu.runtime));
    if (json_array_size(rows)) return rows;
    json_decref(rows);
    return json_null();
}

static int disk_facts(json_t **out, const char *directory)
{
    struct pawl_disk disk;
    char clean[4096];
    const int rc = pawl_disk_measure(&disk, directory);

    if (rc)
        return rc;
    pawl_words_clean(clean, sizeof(clean), directory);
    *out = json_pack("{s:s, s:s, s:I, s:b, s:f, s:f, s:f}", "path", clean, "file_system", disk.kind,
                     "free_bytes", (json_int_t)disk.free_bytes, "direct", disk.direct,
                     "write_bytes_per_s", disk.bytes_per_s, "fsync_ms_p50", disk.sync_ms_p50,
                     "fsync_ms_max", disk.sync_ms_max);
    return 0;
}

// ---- lines

static double number(const json_t *facts, const char *name)
{
    return json_number_value(json_object_get(facts, name));
}

static const char *text(const json_t *facts, const char *name)
{
    const char *value = json_string_value(json_object_get(facts, name));

    return value ? value : "";
}

// CUDA's way to write a version: 1000 * major + 10 * minor.
static void print_gpus(const json_t *facts)
{
    const json_t *rows = json_object_get(facts, "gpu"), *gpu;
    char all[PAWL_WORDS], left[PAWL_WORDS];
    size_t i;

    if (!json_is_array(rows)) printf("gpu        none: %s\n", text(facts, "gpu_why"));
    json_array_foreach(rows, i, gpu) {
        const int driver = (int)number(gpu, "driver"), runtime = (int)number(gpu, "runtime");

        printf("%s cuda:%zu %s, %s (%s free), sm_%.0f%.0f, %.0f multiprocessors; the driver knows "
               "CUDA %d.%d, pawl was built with %d.%d\n", i ? "          " : "gpu       ", i,
               text(gpu, "name"), pawl_words_bytes(all, number(gpu, "memory_bytes")),
               pawl_words_bytes(left, number(gpu, "free_bytes")), number(gpu, "major"),
               number(gpu, "minor"), number(gpu, "multiprocessors"), driver / 1000,
               driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    }
}

static void print_machine(const json_t *facts)
{
    const json_t *cpu = json_object_get(facts, "cpu"), *memory = json_object_get(facts, "memory");
    const json_t *ring = json_object_get(facts, "io_uring");
    const json_t *launcher = json_object_get(facts, "launcher");
    char a[PAWL_WORDS], b[PAWL_WORDS];

    printf("cpu        %s, %s, %.0f cores usable, %.0f threads", text(cpu, "model"),
           text(cpu, "instruction_set"), number(cpu, "cores"), number(cpu, "threads"));
    if (number(cpu, "fma_gflops") > 0)
        printf(", %.0f GFLOP/s of multiply-adds", number(cpu, "fma_gflops"));
    putchar('\n');
    print_gpus(facts);
    printf("memory     %s, %s available", pawl_words_bytes(a, number(memory, "total_bytes")),
           pawl_words_bytes(b, number(memory, "available_bytes")));
    if (json_is_integer(json_object_get(memory, "limit_bytes")))
        printf(", limited to %s", pawl_words_bytes(a, number(memory, "limit_bytes")));
    if (json_is_integer(json_object_get(memory, "memlock_bytes")))
        printf("; %s of it may be locked", pawl_words_bytes(a, number(memory, "memlock_bytes")));
    else
        printf("; all of it may be locked");
    printf("\nio_uring   %s%s\n",
           json_is_true(json_object_get(ring, "allowed")) ? "allowed" : "not allowed: ",
           text(ring, "why"));
    if (strcmp(text(launcher, "kind"), "single"))
        printf("launcher   %s, rank %.0f of %.0f\n", text(launcher, "kind"),
               number(launcher, "rank"), number(launcher, "ranks"));
    else
        printf("launcher   none: a single process\n");
}

static void print_disk(const json_t *dir)
{
    char free_words[PAWL_WORDS], rate[PAWL_WORDS], p50[PAWL_WORDS], most[PAWL_WORDS];

    printf("directory  %s: %s, %s free, O_DIRECT %s\n", text(dir, "path"), text(dir, "file_system"),
           pawl_words_bytes(free_words, number(dir, "free_bytes")),
           json_is_true(json_object_get(dir, "direct")) ? "works" : "does not work");
    printf("           %s/s written and made durable; fsync of 4 kB takes %s (p50), %s at most\n",
           pawl_words_bytes(rate, number(dir, "write_bytes_per_s")),
           pawl_words_span(p50, number(dir, "fsync_ms_p50") / 1e3),
           pawl_words_span(most, number(dir, "fsync_ms_max") / 1e3));
    if (!strcmp(text(dir, "file_system"), "tmpfs"))
        printf("           it is in memory: nothing there survives a power cut or a reboot\n");
}

int pawl_verb_doctor(const struct pawl_options *o)
{
    struct pawl_device *device = NULL;
    json_t *dir = NULL, *facts = NULL;
    int rc = pawl_device_open(&device, "host", o->threads < 0 ? 0 : (int)o->threads);

    if (rc)
        goto out;
    if ((rc = disk_facts(&dir, o->dir ? o->dir : ".")))
        goto out;
    facts = json_pack("{s:s, s:o, s:o, s:s?, s:o, s:o, s:o, s:o}", "version", PAWL_VERSION, "cpu",
                      cpu_facts(device), "gpu", gpu_facts(), "gpu_why", pawl_device_why_host(),
                      "memory", memory_facts(), "io_uring", uring_facts(), "launcher",
                      launcher_facts(), "dir", json_incref(dir));
    if (!facts) {
        rc = pawl_fail(PAWL_ENOMEM, "doctor: no memory for the facts");
        goto out;
    }
    if (o->json) {
        json_dumpf(facts, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_machine(facts);
        print_disk(dir);
    }
out:
    json_decref(facts);
    json_decref(dir);
    pawl_device_close(device);
    return rc ? pawl_exit_telling(rc) : PAWL_EXIT_DONE;
}
