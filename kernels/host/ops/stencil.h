// stencil.h - the product of gemm.h where a holds patches of images, without packing them: the
// inner loop reads them from a band's copy (band.h), where neighbours share what they overlap in.
//
// Packing an element of a patch costs as much as multiplying it with some 8 columns, so this wins
// where there are few columns: most convolutions.

#ifndef PAWL_HOST_STENCIL_H
#define PAWL_HOST_STENCIL_H

#include "kernels/host/ops/gemm.h"

// Factor a's patches count, not its function. false: too large for the scratch; use the gemm.
bool HOST(stencil)(struct pawl_stream *s, const struct gemm *g);

// The weights' gradient: a is out_grad (pack_across), b has the patches. As above; false also
// where m is large enough for the gemm to win.
bool HOST(stencil_back_weight)(struct pawl_stream *s, const struct gemm *g);

#endif
