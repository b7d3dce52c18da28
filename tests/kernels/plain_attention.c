// plain_attention.c - attention with the whole matrix of weights, one row at a time.

#include <math.h>
#include <stdlib.h>

#include "tests/kernels/plain.h"

// Where position t of an item has its queries, keys and values: part 0, 1, 2; head counts within.
static int64_t at(const struct pawl_attention *a, int64_t item, int64_t t, int part, int64_t head)
{
    const int64_t row = item * a->time + t;
    const int64_t before[3] = { 0, a->heads, a->heads + a->kv_heads };

    return (row * (a->heads + 2 * a->kv_heads) + before[part] + head) * a->dim;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

// weight (time) = one row of the softmax; 0 where not seen. Returns the log of its sum.
static double weights(double *weight, const double *qkv, const struct pawl_attention *a,
                      int64_t item, int64_t head, int64_t t)
{
    const int64_t kv = head / (a->heads / a->kv_heads), seen = a->causal ? t + 1 : a->time;
    const double *query = qkv + at(a, item, t, 0, head);
    double top = -INFINITY, sum = 0;

    for (int64_t j = 0; j < seen; j++) {
        weight[j] = dot(query, qkv + at(a, item, j, 1, kv), a->dim) / sqrt((double)a->dim);
        top = weight[j] > top ? weight[j] : top;
    }
    for (int64_t j = 0; j < seen; j++)
        sum += exp(weight[j] - top);
    for (int64_t j = 0; j < a->time; j++)
        weight[j] = j < seen ? exp(weight[j] - top) / sum : 0;
    return top + log(sum);
}

void plain_attention(double *out, double *lse, const double *qkv, const struct pawl_attention *a)
{
    double *weight = malloc((size_t)a->time * sizeof(double));

    for (int64_t row = 0; weight && row < a->batch * a->heads * a->time; row++) {
        const int64_t item = row / a->time / a->heads, head = row / a->time % a->heads;
        const int64_t t = row % a->time, kv = head / (a->heads / a->kv_heads);
        double *to = out + ((item * a->time + t) * a->heads + head) * a->dim;
        lse[row] = weights(weight, qkv, a, item, head, t);
        for (int64_t d = 0; d < a->dim; d++)
            to[d] = 0;
        for (int64_t j = 0; j < a->time; j++)
            for (int64_t d = 0; d < a->dim; d++)
                to[d] += weight[j] * qkv[at(a, item, j, 2, kv) + d];
    }
    free(weight);
}

static void row_back(double *qkv_grad, const double *grad, const double *weight, const double *qkv,
                     const struct pawl_attention *a, int64_t item, int64_t head, int64_t t)
{
    const int64_t kv = head / (a->heads / a->kv_heads), query = at(a, item, t, 0, head);
    double mean = 0;

    for (int64_t j = 0; j < a->time; j++)
        mean += weight[j] * dot(grad, qkv + at(a, item, j, 2, kv), a->dim);
    for (int64_t j = 0; j < a->time; j++) {
        const int64_t key = at(a, item, j, 1, kv), value = at(a, item, j, 2, kv);
        const double slope = weight[j] * (dot(grad, qkv + value, a->dim) - mean)
                             / sqrt((double)a->dim);
        for (int64_t d = 0; d < a->dim; d++) {
            qkv_grad[value + d] += weight[j] * grad[d];
            qkv_grad[key + d] += slope * qkv[query + d];
            qkv_grad[query + d] += slope * qkv[key + d];
        }
    }
}

void plain_attention_back(double *qkv_grad, const double *out_grad, const double *qkv,
                          const struct pawl_attention *a)
{
    double *weight = malloc((size_t)a->time * sizeof(double));

    for (int64_t i = 0; i < at(a, a->batch, 0, 0, 0); i++)
        qkv_grad[i] = 0;
    for (int64_t row = 0; weight && row < a->batch * a->heads * a->time; row++) {
        const int64_t item = row / a->time / a->heads, head = row / a->time % a->heads;
        const int64_t t = row % a->time;
        weights(weight, qkv, a, item, head, t);
        row_back(qkv_grad, out_grad + ((item * a->time + t) * a->heads + head) * a->dim, weight,
                 qkv, a, item, head, t);
    }
    free(weight);
}
