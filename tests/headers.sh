#!/bin/sh
# test: once
# headers: each header of the rooms compiles alone, without a warning.
set -eu

# compile DIR HEADER
compile() {
    case $2 in
    kernels/cuda/simt.h | kernels/simt/*) compile_cxx "$@" ;;
    kernels/cuda/*)
        # What needs CUDA's headers is C, for the device; kernels are C++.
        if ! grep -q '^#include <cuda' "$1/$2"; then
            compile_cxx "$@"
        elif [ -d "${CUDA_PATH:-/usr/local/cuda}/include" ]; then
            compile_c "$@" -isystem "${CUDA_PATH:-/usr/local/cuda}/include"
        fi
        ;;
    *) compile_c "$@" ;;
    esac
}

alone() {
    printf '#include "%s"\nextern int alone;  // a list of macros is no translation unit\n' "$1"
}

compile_c() {
    dir=$1 header=$2
    shift 2
    alone "$header" | ${CC:-cc} -std=c17 -D_GNU_SOURCE -DPAWL_ISA=plain -DPAWL_LANES=4 -I "$dir" \
        "$@" -Wall -Wextra -Wpedantic -Wno-psabi -Werror -fsyntax-only -x c -
}

compile_cxx() {
    command -v "${CXX:-c++}" >/dev/null || return 0
    alone "$2" | ${CXX:-c++} -std=gnu++20 -D_GNU_SOURCE -DPAWL_TYPE=bf16 -I "$1" \
        -Wall -Wextra -Wpedantic -Wno-unknown-pragmas -Werror -fsyntax-only -x c++ -
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'int f(size_t n);' >"$work/broken.h"
if compile "$work" broken.h 2>/dev/null; then
    echo "headers: did not notice a header that needs another"
    exit 1
fi
mkdir -p "$work/kernels/simt"
cp "$work/broken.h" "$work/kernels/simt"
if command -v "${CXX:-c++}" >/dev/null && compile "$work" kernels/simt/broken.h 2>/dev/null; then
    echo "headers: did not notice a header of C++ that needs another"
    exit 1
fi

cd "${1:-$PAWL_SOURCE}"
count=0
bad=0
# The two halves of mma.h are no headers of their own.
for header in $(find kernels checkpoint runtime -name '*.h' | grep -v '/mma_[a-z]*\.h$' | sort); do
    compile . "$header" || bad=$((bad + 1))
    count=$((count + 1))
done
echo "$count headers, $bad do not compile alone"
[ $count -gt 0 ] && [ $bad = 0 ]
