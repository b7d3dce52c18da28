#!/bin/sh
# test: once timeout=600
# barriers_sample: barriers.sh for two files that compile quickly.
set -eu
PAWL_BARRIERS="move.cu reduce.cu" exec sh "$PAWL_SOURCE/tests/kernels/barriers.sh"
