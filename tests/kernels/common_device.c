// common_device.c - the row of a device with memory of its own: PAWL_TEST_DEVICE=cuda (or sim, to
// try this file). Tests have host memory; each block of it has a twin on the device, of its very
// size so that a memory checker sees each byte beyond. An operation is: all blocks there, the
// kernel, all blocks back.

#include <criterion/criterion.h>
#include <stdlib.h>

#include "kernels/sim/calls.h"
#include "tests/kernels/common.h"

enum { TWINS = 256 };

static struct pawl_device *device;
static struct pawl_stream *stream;
static struct {
    void *here, *there;
    size_t bytes;
} twins[TWINS];
static int twin_count;

void common_device_forget(void)
{
    while (twin_count) {
        twin_count--;
        pawl_device_free(device, twins[twin_count].there, twins[twin_count].bytes,
                         PAWL_ON_DEVICE);
    }
}

static void send_all(void)
{
    void *memory;
    size_t bytes;

    for (int i = 0; common_block(i, &memory, &bytes); i++) {
        if (i == twin_count) {
            twins[i].here = memory;
            twins[i].bytes = bytes;
            cr_assert_eq(pawl_device_alloc(device, &twins[i].there, bytes, PAWL_ON_DEVICE), 0,
                         "%s", pawl_error());
            twin_count++;
        }
        cr_assert(twins[i].here == memory && twins[i].bytes == bytes);
        pawl_stream_copy(stream, twins[i].there, memory, bytes);
    }
}

static void fetch_all(const char *operation)
{
    for (int i = 0; i < twin_count; i++)
        pawl_stream_copy(stream, twins[i].here, twins[i].there, twins[i].bytes);
    cr_assert_eq(pawl_stream_wait(stream), 0, "%s: %s", operation, pawl_error());
}

static void *reach(const void *memory)
{
    const char *address = memory;

    if (!address) return NULL;
    for (int i = 0; i < twin_count; i++) {
        const char *here = twins[i].here;
        if (address >= here && address <= here + twins[i].bytes)
            return (char *)twins[i].there + (address - here);
    }
    cr_assert_fail("an operation was given memory that is no block of the test's");
    return NULL;
}

#define D_PARAMETER(type, name) , type name
#define S_PARAMETER(type, name) , const type *name
#define D_ARGUMENT(type, name) , reach(name)
#define V_ARGUMENT(type, name) , name

#define DEFINE(op, LIST)                                                                         \
    static void on_##op(struct pawl_stream *s LIST(D_PARAMETER, D_PARAMETER, S_PARAMETER))       \
    {                                                                                            \
        (void)s;                                                                                 \
        send_all();                                                                              \
        device->ops->op(stream LIST(D_ARGUMENT, V_ARGUMENT, V_ARGUMENT));                        \
        fetch_all(#op);                                                                          \
    }

SIM_OPERATIONS(DEFINE)

// Three structs hold addresses of their own.
static void on_update(struct pawl_stream *s UPDATE(D_PARAMETER, D_PARAMETER, S_PARAMETER))
{
    struct pawl_update own = *rule;

    (void)s;
    send_all();
    own.grad_norm = reach(rule->grad_norm);
    rule = &own;
    device->ops->update(stream UPDATE(D_ARGUMENT, V_ARGUMENT, V_ARGUMENT));
    fetch_all("update");
}

static void on_batch_norm(struct pawl_stream *s BATCH_NORM(D_PARAMETER, D_PARAMETER, S_PARAMETER))
{
    struct pawl_batch_norm own = *norm;

    (void)s;
    send_all();
    own.running_mean = reach(norm->running_mean);
    own.running_var = reach(norm->running_var);
    own.next_mean = reach(norm->next_mean);
    own.next_var = reach(norm->next_var);
    norm = &own;
    device->ops->batch_norm(stream BATCH_NORM(D_ARGUMENT, V_ARGUMENT, V_ARGUMENT));
    fetch_all("batch_norm");
}

static void on_cell(struct pawl_stream *s, const struct pawl_cell *cell)
{
    struct pawl_cell own = *cell;

    (void)s;
    send_all();
    own.gates = reach(cell->gates);
    own.hidden = reach(cell->hidden);
    own.h = reach(cell->h);
    own.c = reach(cell->c);
    own.h_prev = reach(cell->h_prev);
    own.c_prev = reach(cell->c_prev);
    own.h_grad = reach(cell->h_grad);
    own.c_grad = reach(cell->c_grad);
    device->ops->cell(stream, &own);
    fetch_all("cell");
}

#define ROW(op, LIST) .op = on_##op,

static const struct pawl_ops ops = {
    .name = "device",
    SIM_OPERATIONS(ROW)
    .update = on_update,
    .batch_norm = on_batch_norm,
    .cell = on_cell,
};

const struct pawl_ops *common_device_ops(void)
{
    const char *name = getenv("PAWL_TEST_DEVICE");

    if (!name || !*name) return NULL;
    if (!device) {
        cr_assert_eq(pawl_device_open(&device, name, 1), 0, "%s", pawl_error());
        cr_assert_eq(pawl_stream_open(&stream, device), 0, "%s", pawl_error());
    }
    return &ops;
}
