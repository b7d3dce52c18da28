#!/bin/sh
# test: once timeout=600
# barriers_sample: barriers.sh for files that compile quickly, and whose barriers are all noticed.
set -eu
PAWL_BARRIERS="cuda.h move.cu reduce.cu" exec sh "$PAWL_SOURCE/tests/kernels/barriers.sh"
