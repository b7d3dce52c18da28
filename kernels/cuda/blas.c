// blas.c - cuBLASLt: its library, and a table of plans.

#include "kernels/cuda/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"
#include "kernels/memory.h"

enum { PLANS = 1024, PROBES = 8 };  // a network has some tens of shapes

struct plan {
    struct pawl_blas_shape shape;
    bool used, works;
    cublasLtMatmulDesc_t what;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t how;
};

// The functions that are used. X(member, function)
#define FUNCTIONS(X) \
    X(create, cublasLtCreate) X(destroy, cublasLtDestroy) X(multiply, cublasLtMatmul) \
    X(choose, cublasLtMatmulAlgoGetHeuristic) X(what_create, cublasLtMatmulDescCreate) \
    X(what_destroy, cublasLtMatmulDescDestroy) X(what_set, cublasLtMatmulDescSetAttribute) \
    X(layout_create, cublasLtMatrixLayoutCreate) X(layout_destroy, cublasLtMatrixLayoutDestroy) \
    X(wish_create, cublasLtMatmulPreferenceCreate) \
    X(wish_destroy, cublasLtMatmulPreferenceDestroy) \
    X(wish_set, cublasLtMatmulPreferenceSetAttribute)

struct pawl_blas {
    void *library;
    cublasLtHandle_t handle;
    pthread_mutex_t lock;  // guards plans, and each plan's pointers while it is queued
    struct plan plans[PLANS];
#define MEMBER(member, function) __typeof__(function) *member;
    FUNCTIONS(MEMBER)
};

// ---- the library

// Its own version first; the other's functions are the same.
static void *find(void)
{
    static const char *const forms[] = { "libcublasLt.so.%d",
                                         "/usr/local/cuda/lib64/libcublasLt.so.%d" };
    const int versions[] = { CUBLAS_VER_MAJOR, CUBLAS_VER_MAJOR == 12 ? 13 : 12 };
    const char *wanted = getenv("PAWL_CUBLASLT");
    char name[64];

    if (wanted && *wanted) return strcmp(wanted, "off") ? dlopen(wanted, RTLD_NOW) : NULL;
    for (int v = 0; v < 2; v++)
        for (int f = 0; f < 2; f++) {
            snprintf(name, sizeof(name), forms[f], versions[v]);
            void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
            if (library) return library;
        }
    return NULL;
}

static bool bind_functions(struct pawl_blas *blas)
{
#define BIND(member, function) { #function, offsetof(struct pawl_blas, member) },
    static const struct {
        const char *name;
        size_t at;
    } functions[] = { FUNCTIONS(BIND) };

    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        void *address = dlsym(blas->library, functions[i].name);
        if (!address) return false;
        memcpy((char *)blas + functions[i].at, &address, sizeof(address));
    }
    return true;
}

int pawl_blas_open(struct pawl_blas **out)
{
    struct pawl_blas *blas = NULL;
    void *library = find();

    *out = NULL;
    if (!library) return 0;
    const int rc = pawl_alloc(&blas, sizeof(*blas), "cuBLASLt's plans");
    if (rc) {
        dlclose(library);
        return rc;
    }
    blas->library = library;
    pthread_mutex_init(&blas->lock, NULL);
    if (!bind_functions(blas) || blas->create(&blas->handle)) {
        blas->handle = NULL;
        pawl_blas_close(blas);
        return 0;
    }
    *out = blas;
    return 0;
}

static void drop(struct pawl_blas *blas, struct plan *plan)
{
    if (plan->what) blas->what_destroy(plan->what);
    if (plan->a) blas->layout_destroy(plan->a);
    if (plan->b) blas->layout_destroy(plan->b);
    if (plan->d) blas->layout_destroy(plan->d);
    memset(plan, 0, sizeof(*plan));
}

// The library stays open: it starts threads and registers destructors of its own.
void pawl_blas_close(struct pawl_blas *blas)
{
    if (!blas) return;
    for (int i = 0; i < PLANS; i++)
        if (blas->plans[i].used) drop(blas, &blas->plans[i]);
    if (blas->handle) blas->destroy(blas->handle);
    pthread_mutex_destroy(&blas->lock);
    pawl_free(blas);
}

// ---- plans

#define SET(attribute, value) \
    blas->what_set(plan->what, attribute, &(value), sizeof(value))

// What changes from call to call.
static cublasStatus_t point(struct pawl_blas *blas, struct plan *plan,
                            const struct pawl_blas_product *p)
{
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

    if (p->bias) status = SET(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias);
    if (!status && p->aux) status = SET(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p->aux);
    return status;
}

static cublasStatus_t describe(struct pawl_blas *blas, struct plan *plan,
                               const struct pawl_blas_product *p)
{
    const struct pawl_blas_shape *shape = &p->shape;
    const cublasOperation_t a = shape->a_across ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t b = shape->b_across ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = (cublasLtEpilogue_t)shape->epilogue;
    const uint64_t m = (uint64_t)shape->m, n = (uint64_t)shape->n, k = (uint64_t)shape->k;

    // COMPUTE_32F is fp32 all through: TF32 is another type, which nobody asks for here.
    cublasStatus_t status = blas->what_create(&plan->what, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!status) status = SET(CUBLASLT_MATMUL_DESC_TRANSA, a);
    if (!status) status = SET(CUBLASLT_MATMUL_DESC_TRANSB, b);
    if (!status) status = SET(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (!status && p->aux) status = SET(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, shape->d_stride);
    if (!status) status = point(blas, plan, p);
    if (!status)
        status = blas->layout_create(&plan->a, (cudaDataType)shape->in, shape->a_across ? k : m,
                                     shape->a_across ? m : k, shape->a_stride);
    if (!status)
        status = blas->layout_create(&plan->b, (cudaDataType)shape->in, shape->b_across ? n : k,
                                     shape->b_across ? k : n, shape->b_stride);
    if (!status)
        status = blas->layout_create(&plan->d, (cudaDataType)shape->out, m, n, shape->d_stride);
    return status;
}

static cublasStatus_t wish(struct pawl_blas *blas, cublasLtMatmulPreference_t wishes,
                           uint32_t align)
{
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };
    const uint32_t sums = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;  // or none: that is always fine
    const uint64_t room = PAWL_BLAS_BYTES;

    cublasStatus_t status = blas->wish_set(wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                           sizeof(room));
    if (!status)
        status = blas->wish_set(wishes, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &sums,
                                sizeof(sums));
    for (int i = 0; !status && i < 4; i++)
        status = blas->wish_set(wishes, aligned[i], &align, sizeof(align));
    return status;
}

static void make(struct pawl_blas *blas, struct plan *plan, const struct pawl_blas_product *p)
{
    cublasLtMatmulPreference_t wishes = NULL;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;

    plan->shape = p->shape;
    plan->used = true;
    cublasStatus_t status = describe(blas, plan, p);
    if (!status) status = blas->wish_create(&wishes);
    if (!status) status = wish(blas, wishes, (uint32_t)p->shape.align);
    if (!status)
        status = blas->choose(blas->handle, plan->what, plan->a, plan->b, plan->d, plan->d, wishes,
                              1, &best, &found);
    if (wishes) blas->wish_destroy(wishes);
    plan->works = !status && found == 1 && best.state == CUBLAS_STATUS_SUCCESS;
    if (plan->works) plan->how = best.algo;
}

// FNV-1a (Fowler, Noll, Vo)
static uint64_t hash(const struct pawl_blas_shape *shape)
{
    const unsigned char *bytes = (const unsigned char *)shape;
    uint64_t sum = 0xcbf29ce484222325u;

    for (size_t i = 0; i < sizeof(*shape); i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

// The plan for a product, made now if need be, in place of another where there is no room.
static struct plan *plan_for(struct pawl_blas *blas, const struct pawl_blas_product *p)
{
    const uint64_t first = hash(&p->shape);
    struct plan *plan = NULL;

    for (uint64_t i = 0; i < PROBES; i++) {
        plan = &blas->plans[(first + i) % PLANS];
        if (!plan->used) break;
        if (!memcmp(&plan->shape, &p->shape, sizeof(p->shape))) return plan;
    }
    if (plan->used) drop(blas, plan);
    make(blas, plan, p);
    return plan;
}

bool pawl_blas_multiply(struct pawl_blas *blas, struct pawl_stream *stream,
                        const struct pawl_blas_product *p)
{
    const struct pawl_cuda_stream *own = (const struct pawl_cuda_stream *)stream;
    const float one = 1.0f, beta = p->c ? 1.0f : 0.0f;

    pawl_cuda_enter(stream->device);
    pthread_mutex_lock(&blas->lock);
    struct plan *plan = plan_for(blas, p);
    const bool works = plan->works;
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    if (works) status = point(blas, plan, p);
    if (works && !status)
        status = blas->multiply(blas->handle, plan->what, &one, p->a, plan->a, p->b, plan->b, &beta,
                                p->c ? p->c : p->d, plan->d, p->d, plan->d, &plan->how,
                                own->workspace, PAWL_BLAS_BYTES, (cudaStream_t)stream->queue);
    pthread_mutex_unlock(&blas->lock);
    if (!status) return works;
    pawl_cuda_note(stream, cudaGetLastError());
    if (!stream->fault) {
        stream->reason = "cuBLASLt refused a product that it had planned";
        stream->fault = 1000 + (int)status;
    }
    return true;
}
