// plugin.c - what libpawl-simt.so shows: the operations of kernels/cuda/ops, on fibers.

#include "kernels/plugin.h"

extern const struct pawl_ops pawl_cuda_ops_fp32, pawl_cuda_ops_bf16;
void simt_open(void);  // lane.h, which is C++

static void start(const struct pawl_services *services)
{
    pawl_services_set(services);
    simt_open();
}

const struct pawl_plugin pawl_plugin = {
    PAWL_PLUGIN_SIZES, .start = start,
    .ops = { &pawl_cuda_ops_fp32, &pawl_cuda_ops_bf16 },
};
