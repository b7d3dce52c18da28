#!/bin/sh
# run.sh SECONDS [TARGET...] - builds the fuzz targets with clang and runs each so long; 0: only the
# kept inputs, once each.
#
# Exits 1 when one found something: the input is left in build-fuzz/findings/. Once it is fixed, it
# goes to tests/fuzz/crashes/TARGET, from where every run starts.
set -eu

seconds=${1:-20}
[ $# -gt 0 ] && shift
cd "$(dirname "$0")/../.."
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz >build-fuzz/log 2>&1 || { tail -20 build-fuzz/log; exit 1; }

# Real files beside the seeds; those that are too long for a target are cut.
beside() {
    case $1 in
    pth) echo tests/checkpoint/data/torch tests/data/bad ;;
    npz) echo tests/checkpoint/data/npz tests/data/bad ;;
    hdf5 | keras | safetensors) echo tests/data/bad ;;
    esac
}

targets=$*
if [ -z "$targets" ]; then
    for source in tests/fuzz/*.c; do
        name=$(basename "$source" .c)
        [ "$name" = support ] || targets="$targets $name"
    done
fi
mkdir -p build-fuzz/findings
failed=
for target in $targets; do
    corpus=build-fuzz/corpus/$target
    mkdir -p "$corpus"
    more=$(beside "$target")
    for folder in tests/fuzz/seeds/$target tests/fuzz/crashes/$target; do
        [ -d "$folder" ] && more="$more $folder"
    done
    words= limit=-max_total_time=$seconds
    [ "$seconds" = 0 ] && limit=-runs=0
    [ -f "tests/fuzz/$target.dict" ] && words=-dict=tests/fuzz/$target.dict
    # One request for memory may be 4 times the longest input and 16 MiB, but for HDF5, whose
    # reader keeps up to 32 MiB of decoded chunks.
    length=32768 memory=17
    [ "$target" = hdf5 ] || [ "$target" = keras ] && memory=34
    # shellcheck disable=SC2086
    if nice "build-fuzz/tests/fuzz/fuzz-$target" "$limit" -max_len=$length \
        -malloc_limit_mb=$memory -rss_limit_mb=700 -timeout=10 -print_final_stats=1 $words \
        -artifact_prefix="build-fuzz/findings/$target-" "$corpus" $more \
        >"build-fuzz/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/$target.log")
        echo "$target: $runs runs, nothing found"
    else
        failed="$failed $target"
        grep -m1 -E 'ERROR|SUMMARY|runtime error|fuzz:' "build-fuzz/$target.log" || true
        echo "$target: FOUND, see build-fuzz/$target.log and build-fuzz/findings/"
    fi
done
[ -z "$failed" ] || { echo "found by:$failed"; exit 1; }
