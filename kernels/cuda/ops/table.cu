// table.cu - the GPU's operations for one element type.

#include "kernels/cuda/cuda.h"

#define CUDA_WORDS_(word) #word
#define CUDA_WORDS(word) CUDA_WORDS_(word)
#define CUDA_MEMBER(name) .name = CUDA(name),

extern "C" const struct pawl_ops CUDA(ops) = {
    .name = CUDA_WORDS(PAWL_TYPE),
    CUDA_OPERATIONS(CUDA_MEMBER)
};
