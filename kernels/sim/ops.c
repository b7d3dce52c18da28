// ops.c - the pretend GPU's operations: the host's or the GPU's, on the stream's thread, one at a
// time.

#include "kernels/sim/calls.h"
#include "kernels/sim/sim.h"

// What a list of calls.h becomes: fields of a queued call, parameters, their values, arguments.
#define FIELD(type, name) type name;
#define D_PARAMETER(type, name) , type name
#define S_PARAMETER(type, name) , const type *name
#define D_VALUE(type, name) .name = sim_kernel_reach(sim_of(s), name, &reason),
#define V_VALUE(type, name) .name = name,
#define S_VALUE(type, name) .name = *name,
#define ARGUMENT(type, name) , call->name
#define S_ARGUMENT(type, name) , &call->name

// What a kernel did wrong (libpawl-simt.so) fails the stream.
static void take_fault(struct sim_stream *stream)
{
    if (!stream->host->fault) return;
    pthread_mutex_lock(&stream->lock);
    if (!stream->reason) stream->reason = stream->host->reason;
    pthread_mutex_unlock(&stream->lock);
    stream->host->fault = 0;
    stream->host->reason = NULL;
}

// queue_NAME has NAME's signature; run_NAME is what the stream's thread then does. Both once per
// element type, since a call must know which of the host's tables is meant.
#define DEFINE(op, LIST)                                                                        \
    struct op##_call {                                                                          \
        LIST(FIELD, FIELD, FIELD)                                                               \
    };                                                                                          \
    _Static_assert(sizeof(struct op##_call) <= SIM_CALL_BYTES, "a call fits its slot");         \
    DEFINE_IN(op, LIST, op##_fp32, ops)                                                         \
    DEFINE_IN(op, LIST, op##_bf16, bf16)
#define DEFINE_IN(op, LIST, op_type, table)                                                     \
    static void run_##op_type(struct sim_stream *stream, void *opaque)                          \
    {                                                                                           \
        const struct op##_call *call = opaque;                                                  \
        struct sim *sim = sim_of(&stream->stream);                                              \
        pthread_mutex_lock(&sim->kernels);                                                      \
        sim->table.op(stream->host LIST(ARGUMENT, ARGUMENT, S_ARGUMENT));                       \
        pthread_mutex_unlock(&sim->kernels);                                                    \
        take_fault(stream);                                                                     \
    }                                                                                           \
    static void queue_##op_type(struct pawl_stream *s                                           \
                                LIST(D_PARAMETER, D_PARAMETER, S_PARAMETER))                    \
    {                                                                                           \
        const char *reason = NULL;                                                              \
        const struct op##_call call = { LIST(D_VALUE, V_VALUE, S_VALUE) };                      \
        sim_queue(s, SIM_OPERATION, run_##op_type, &call, sizeof(call), reason);                \
    }

SIM_OPERATIONS(DEFINE)
DEFINE(update, UPDATE)
DEFINE(batch_norm, BATCH_NORM)
DEFINE(cell, CELL)

// Three structs hold addresses of their own. Ordinary host memory among them is not noticed.
static void *reach(const struct pawl_stream *s, const void *memory)
{
    return sim_reach(sim_of(s), memory);
}

static struct pawl_update reach_update(const struct pawl_stream *s, const struct pawl_update *rule)
{
    struct pawl_update own = *rule;

    own.grad_norm = reach(s, rule->grad_norm);
    return own;
}

static struct pawl_batch_norm reach_batch_norm(const struct pawl_stream *s,
                                               const struct pawl_batch_norm *norm)
{
    struct pawl_batch_norm own = *norm;

    own.running_mean = reach(s, norm->running_mean);
    own.running_var = reach(s, norm->running_var);
    own.next_mean = reach(s, norm->next_mean);
    own.next_var = reach(s, norm->next_var);
    return own;
}

static struct pawl_cell reach_cell(const struct pawl_stream *s, const struct pawl_cell *cell)
{
    struct pawl_cell own = *cell;

    own.gates = reach(s, cell->gates);
    own.hidden = reach(s, cell->hidden);
    own.h = reach(s, cell->h);
    own.c = reach(s, cell->c);
    own.h_prev = reach(s, cell->h_prev);
    own.c_prev = reach(s, cell->c_prev);
    own.h_grad = reach(s, cell->h_grad);
    own.c_grad = reach(s, cell->c_grad);
    return own;
}

#define QUEUE_BY(type)                                                                          \
    static void queue_update_by_##type(struct pawl_stream *s                                    \
                                       UPDATE(D_PARAMETER, D_PARAMETER, S_PARAMETER))           \
    {                                                                                           \
        const struct pawl_update own = reach_update(s, rule);                                   \
        queue_update_##type(s, param, moment_1, moment_2, grad, n, &own, copy_param, copy_1,    \
                            copy_2, rounded);                                                   \
    }                                                                                           \
    static void queue_batch_norm_by_##type(struct pawl_stream *s                                \
                                           BATCH_NORM(D_PARAMETER, D_PARAMETER, S_PARAMETER))   \
    {                                                                                           \
        const struct pawl_batch_norm own = reach_batch_norm(s, norm);                           \
        queue_batch_norm_##type(s, out, mean, rstd, x, weight, bias, &own);                     \
    }                                                                                           \
    static void queue_cell_by_##type(struct pawl_stream *s, const struct pawl_cell *cell)       \
    {                                                                                           \
        const struct pawl_cell own = reach_cell(s, cell);                                       \
        queue_cell_##type(s, &own);                                                             \
    }

QUEUE_BY(fp32)
QUEUE_BY(bf16)

#define ROW_FP32(op, LIST) .op = queue_##op##_fp32,
#define ROW_BF16(op, LIST) .op = queue_##op##_bf16,

const struct pawl_ops sim_ops = {
    .name = "fp32",
    SIM_OPERATIONS(ROW_FP32)
    .update = queue_update_by_fp32,
    .batch_norm = queue_batch_norm_by_fp32,
    .cell = queue_cell_by_fp32,
};
const struct pawl_ops sim_ops_bf16 = {
    .name = "bf16",
    SIM_OPERATIONS(ROW_BF16)
    .update = queue_update_by_bf16,
    .batch_norm = queue_batch_norm_by_bf16,
    .cell = queue_cell_by_bf16,
};
