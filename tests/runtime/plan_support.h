// plan_support.h - a model on a device with a plan and a made-up batch, for tests of plans.

#ifndef PAWL_TESTS_PLAN_SUPPORT_H
#define PAWL_TESTS_PLAN_SUPPORT_H

#include "runtime/plan.h"

// Models in JSON.
#define MODEL(shape, layers)                                                                       \
    "{\"pawl\":1,\"name\":\"m\",\"layers\":[{\"name\":\"in\",\"kind\":\"input\",\"config\":"       \
    "{\"shape\":" shape "}}," layers "]}"
#define LAYER(name, kind, inputs, config)                                                          \
    "{\"name\":\"" name "\",\"kind\":\"" kind "\",\"inputs\":[" inputs "],\"config\":{" config "}}"
#define DENSE(name, in, units) LAYER(name, "dense", "\"" in "\"", "\"units\":" units)
#define CONV(name, in, filters)                                                                    \
    LAYER(name, "conv2d", "\"" in "\"", "\"kernel\":3,\"padding\":\"same\",\"filters\":" filters)

enum { BATCH = 4 };

struct bed {
    struct pawl_device *device;
    struct pawl_stream *stream;
    struct pawl_model *model;
    struct pawl_plan *plan;
    char *x, *y;
    size_t x_bytes, y_bytes;
};

// What the next bed computes in; fp32 unless a test says otherwise.
extern enum pawl_dtype bed_type;

// A plan for training; parameters and batch depend on nothing but the model.
void bed_set_up(struct bed *bed, const char *json_or_preset, enum pawl_loss loss, int threads,
                int64_t batch);
void bed_tear_down(struct bed *bed);
void bed_feed(struct bed *bed);  // the batch into the plan, which reuses its place
double bed_loss(struct bed *bed);

// Every trained tensor's gradient against the loss's slope along a random direction of it.
void bed_check_model(const char *json_or_preset, enum pawl_loss loss);

#endif
