// mma_ptx.h - the instructions of mma.h, as PTX names them (sm_80 and later).

#ifndef PAWL_CUDA_MMA_PTX_H
#define PAWL_CUDA_MMA_PTX_H

#define UNROLL _Pragma("unroll")
#define ROLL _Pragma("unroll 1")

// Beyond 48 KiB a kernel has to be told that it may.
template <class Kernel>
static inline void allow_shared(Kernel *kernel, int bytes)
{
    if (bytes > 48 * 1024)
        (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

static __device__ inline uint32_t shared_address(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}

static __device__ inline void copy_16(void *shared, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

static __device__ inline void copy_close()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

template <int LEFT>
static __device__ inline void copy_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(LEFT) : "memory");
}

static __device__ inline void load_matrices(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

static __device__ inline void load_matrices_across(uint32_t out[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

static __device__ inline void multiply_16_8_16(float sum[4], const uint32_t a[4],
                                               const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two numbers as bf16, to nearest even; low is the one with the smaller index.
static __device__ inline uint32_t pair_of(float low, float high)
{
    uint32_t pair;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

#endif
