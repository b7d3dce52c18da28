#!/bin/sh
# test: once
# headers: each header of the rooms compiles alone, without a warning.
set -eu

compile() {
    printf '#include "%s"\nextern int alone;  // a list of macros is no translation unit\n' "$2" |
        ${CC:-cc} -std=c17 -D_GNU_SOURCE -DPAWL_ISA=plain -DPAWL_LANES=4 -I "$1" \
            -Wall -Wextra -Wpedantic -Wno-psabi -Werror -fsyntax-only -x c -
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'int f(size_t n);' >"$work/broken.h"
if compile "$work" broken.h 2>/dev/null; then
    echo "headers: did not notice a header that needs another"
    exit 1
fi

cd "${1:-$PAWL_SOURCE}"
count=0
bad=0
# Those of kernels/cuda and kernels/simt are C++ or need a CUDA toolkit.
for header in $(find kernels checkpoint runtime -name '*.h' |
    grep -vE '^kernels/(cuda|simt)/' | sort); do
    compile . "$header" || bad=$((bad + 1))
    count=$((count + 1))
done
echo "$count headers, $bad do not compile alone"
[ $count -gt 0 ] && [ $bad = 0 ]
