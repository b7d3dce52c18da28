#!/bin/sh
# test: nightly once timeout=7200
# barriers: without any one __syncthreads() or __syncwarp() of the GPU's kernels a test fails. Each
# is taken out in turn from a copy of the sources; the file that holds it is compiled and linked
# with the rest of libpawl-simt.so, and the tests of that family run on it.
# PAWL_BARRIERS="move.cu cuda.h" takes those files alone.
set -eu

command -v "${CXX:-c++}" > /dev/null && [ -f "$PAWL_BUILD/libpawl-simt.so" ] || exit 77
objects=$PAWL_BUILD/kernels/simt/CMakeFiles
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/kernels"
cp -r "$PAWL_SOURCE"/kernels/* "$work/kernels"
export PAWL_SIMT_LIBRARY="$work/mutant.so" PAWL_TEST_SETS=simt

# The operation's file to compile, for a header one that uses it; and the tests that hold it.
family() {
    case $1 in
    cuda.h) echo loss loss ;;
    mma.h | mma_simt.h | product.h) echo gemm tiles linear ;;
    direct.h | conv2d.cu) echo conv2d tiles conv2d ;;
    attention.cu | attention.h) echo attention tiles attention ;;
    attention_back.cu) echo attention_back tiles attention ;;
    embed_back.cu) echo embed_back embed ;;
    layer_norm_back.cu) echo layer_norm_back layer_norm ;;
    columns.cu | columns.h) echo columns rows norms layer_norm ;;
    rope.cu) echo rope rows ;;
    move.cu) echo move map ;;
    reduce.cu) echo reduce reduce ;;
    *) return 1 ;;
    esac
}

# compile TYPE NAME: the mutant's object.
compile() {
    "${CXX:-c++}" -std=gnu++20 -D_GNU_SOURCE -DPAWL_TYPE="$1" -I "$work" -x c++ -O1 -fPIC \
        -fvisibility=hidden -fno-exceptions -fno-rtti -fno-math-errno -w -fsanitize=thread \
        --param=tsan-instrument-func-entry-exit=0 -c "$work/kernels/cuda/ops/$2.cu" -o "$work/$1.o"
}

# link NAME: with what else the library is made of, from the build.
link() {
    mutated=$1
    set -- "$work/fp32.o" "$work/bf16.o"
    for source in "$PAWL_SOURCE"/kernels/cuda/ops/*.cu; do
        [ "$source" != "$PAWL_SOURCE/kernels/cuda/ops/$mutated.cu" ] || continue
        for type in fp32 bf16; do
            set -- "$@" "$objects/pawl-simt-$type.dir/__/cuda/ops/${source##*/}.o"
        done
    done
    for source in "$PAWL_SOURCE"/kernels/simt/*.c "$PAWL_SOURCE"/kernels/simt/*.cc; do
        set -- "$@" "$objects/pawl-simt.dir/${source##*/}.o"
    done
    "${CC:-cc}" -shared -Wl,--version-script="$PAWL_SOURCE/kernels/plugin/plugin.map" \
        -o "$PAWL_SIMT_LIBRARY" "$@" "$objects"/pawl-simt.dir/__/plugin/services.c.o \
        "$objects"/pawl-simt.dir/__/ops.c.o -lpthread -lm
}

build() { compile fp32 "$1" && compile bf16 "$1" && link "$1"; }

# Whether one of the tests fails (or does not end).
noticed() {
    for test; do
        timeout 600 "$PAWL_TESTS/kernels-$test" --jobs 1 > "$work/log" 2>&1 || return 0
    done
    return 1
}

# lines FILE: those that hold a barrier.
lines() {
    grep -nE '^ *(if .*)?__sync(threads|warp)\(\);' "$1" | cut -d: -f1
}

cd "$PAWL_SOURCE/kernels/cuda"
caught=0 count=0
for file in ${PAWL_BARRIERS:-$(ls ./*.h ops/*.cu)}; do
    file=${file#./}
    [ -f "$file" ] || file=ops/$file
    [ -n "$(lines "$file")" ] || continue
    # shellcheck disable=SC2046
    set -- $(family "${file##*/}")
    [ $# -gt 1 ] || { echo "$file: no tests are named for it"; exit 1; }
    name=$1
    shift
    build "$name"
    if noticed "$@"; then
        echo "$file: the tests ($*) fail as it stands:"
        tail -3 "$work/log"
        exit 1
    fi
    for line in $(lines "$file"); do
        sed "${line}s/__sync[a-z]*();/;/" "$file" > "$work/kernels/cuda/$file"
        build "$name"
        count=$((count + 1))
        if noticed "$@"; then
            caught=$((caught + 1))
        else
            echo "$file:$line: nothing fails without it"
        fi
    done
    cp "$file" "$work/kernels/cuda/$file"
done
echo "$caught of $count caught"
[ $count -gt 0 ] && [ $caught = $count ]
