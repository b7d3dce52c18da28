// sim.c - the pretend GPU as a row of the device table: opening, closing, faults.

#include "kernels/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/memory.h"
#include "kernels/plugin.h"

static const char *const fault_kinds[SIM_FAULT_KINDS] = { "", "copy:", "op:", "alloc:" };

static int whole_number(uint64_t *out, const char *name, const char *text)
{
    char *end;

    *out = strtoull(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end) return 0;
    return pawl_fail(PAWL_EINVAL, "%s: '%.32s' is not a whole number", name, text);
}

static int read_wishes(struct sim *sim)
{
    const char *seed = getenv("PAWL_SIM_SEED"), *fault = getenv("PAWL_SIM_FAULT");
    int rc = seed ? whole_number(&sim->seed, "PAWL_SIM_SEED", seed) : 0;

    if (rc || !fault) return rc;
    for (int i = 1; i < SIM_FAULT_KINDS; i++)
        if (!strncmp(fault, fault_kinds[i], strlen(fault_kinds[i])))
            sim->fault_kind = (enum sim_fault_kind)i;
    return whole_number(&sim->fault_at, "PAWL_SIM_FAULT",
                        fault + strlen(fault_kinds[sim->fault_kind]));
}

// The kernels that PAWL_SIM_KERNELS names.
static int choose_kernels(struct sim *sim)
{
    const char *kernels = getenv("PAWL_SIM_KERNELS");
    const struct pawl_plugin *plugin = NULL;

    sim->ops = *sim->host->ops;
    sim->bf16 = *sim->host->bf16;
    if (!kernels || !strcmp(kernels, "host")) return 0;
    if (strcmp(kernels, "cuda"))
        return pawl_fail(PAWL_EINVAL, "PAWL_SIM_KERNELS: '%.32s' is unknown; known: host cuda",
                         kernels);
    const int rc = pawl_plugin_open(&plugin, "libpawl-simt.so", "PAWL_SIMT_LIBRARY");
    if (rc) return rc;
    sim->ops = *plugin->ops[PAWL_PLUGIN_FP32];
    sim->bf16 = *plugin->ops[PAWL_PLUGIN_BF16];
    return 0;
}

bool sim_fails(struct sim *sim, enum sim_fault_kind kind)
{
    if (!sim->fault_at) return false;
    const bool counts = sim->fault_kind == SIM_ANY ? kind != SIM_ALLOC : kind == sim->fault_kind;
    return counts && atomic_fetch_add(&sim->counted, 1) + 1 == sim->fault_at;
}

static void sim_close(struct pawl_device *device)
{
    struct sim *sim = (struct sim *)device;

    sim_space_close(sim);
    pawl_device_close(sim->host);
    pthread_mutex_destroy(&sim->lock);
    pthread_mutex_destroy(&sim->kernels);
    pawl_free(sim);
}

extern const struct pawl_device_kind pawl_device_sim;

static int sim_open(struct pawl_device **out, const char *name, int threads)
{
    struct sim *sim = NULL;

    if (strcmp(name, "sim"))
        return pawl_fail(PAWL_EINVAL, "device '%.32s': sim takes no number", name);
    int rc = pawl_alloc(&sim, sizeof(*sim), "the sim device");
    if (rc) return rc;
    sim->device.kind = &pawl_device_sim;
    sim->device.ops = &sim_ops;
    sim->device.bf16 = &sim_ops_bf16;
    pthread_mutex_init(&sim->lock, NULL);
    pthread_mutex_init(&sim->kernels, NULL);
    rc = read_wishes(sim);
    if (!rc) rc = sim_space_open(sim);
    if (!rc) rc = pawl_device_open(&sim->host, "host", threads);
    if (!rc) rc = choose_kernels(sim);
    if (rc) {
        sim_close(&sim->device);
        return rc;
    }
    sim->device.threads = sim->host->threads;
    snprintf(sim->device.words, sizeof(sim->device.words), "a pretend GPU on %.100s",
             sim->host->words);
    *out = &sim->device;
    return 0;
}

static double sim_peak(struct pawl_device *device, double seconds)
{
    struct sim *sim = (struct sim *)device;

    pthread_mutex_lock(&sim->kernels);
    const double gflops = sim->host->kind->peak_gflops(sim->host, seconds);
    pthread_mutex_unlock(&sim->kernels);
    return gflops;
}

const struct pawl_device_kind pawl_device_sim = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .alloc = sim_alloc,
    .free = sim_free,
    .stream_open = sim_stream_open,
    .stream_close = sim_stream_close,
    .copy = sim_copy,
    .wait = sim_wait,
    .event_open = sim_event_open,
    .event_close = sim_event_close,
    .event_record = sim_event_record,
    .event_before = sim_event_before,
    .event_done = sim_event_done,
    .peak_gflops = sim_peak,
    .free_bytes = sim_free_bytes,
};
