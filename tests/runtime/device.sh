#!/bin/sh
# test: timeout=200
# device: a device that fails in a step ends the run with 69 and its reason; one that fails in a
# save costs that save; either way the snapshots before are whole and the run goes on from them.
# Too little device memory: what is needed, and what would fit.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
seq 3000 >numbers.txt

train() {
    "$PAWL" train gpt:layers=1,heads=1,width=16,context=16 --data numbers.txt --out run --steps 24 \
        --save-every 4 --device sim --json "$@"
}

fail() {
    echo "device: $1"
    shift
    cat "$@"
    exit 1
}

# lose FAULT: one run with it. Adds to $lost, $failed: runs that ended with 69, runs that told of a
# save that failed.
lose() {
    rm -rf run
    status=0
    PAWL_SIM_FAULT=$1 train >events 2>words || status=$?
    if [ $status = 69 ]; then
        lost=$((lost + 1))
        grep -q "PAWL_SIM_FAULT" words || fail "$1: exit 69 without the reason:" words
    elif [ $status != 0 ]; then
        fail "$1: exit $status:" words
    fi
    if grep "\"state\":\"failed\"" events | grep -q PAWL_SIM_FAULT; then
        failed=$((failed + 1))
    fi
    for snapshot in run/step-*; do
        [ -d "$snapshot" ] || continue
        [ ! -e "$snapshot/MANIFEST" ] || "$PAWL" verify "$snapshot" >out 2>&1 ||
            fail "$1: a snapshot is not whole:" out
    done
    train >events 2>words || fail "$1: the run does not go on:" words
    grep -q '"step":24' events || fail "$1: the run did not reach its end:" events
}

lost=0 failed=0
for n in 100 333 500; do lose op:$n; done
[ $lost = 3 ] || fail "of three operations that failed, $lost ended the run with 69" words
for n in $(seq 20 40); do lose copy:$n; done
echo "24 runs: $lost ended with 69, $failed told of a failed save"
[ $failed -gt 0 ] || fail "no copy of a snapshot was among those that failed" events

status=0
"$PAWL" bench step gpt:layers=12,heads=12,width=768,context=1024 --device sim --batch 1000 \
    --seconds 1 >out 2>&1 || status=$?
[ $status = 69 ] && grep -q "of the 1000 in a batch about [0-9]* fit. try: --batch" out ||
    fail "too little memory, exit $status:" out
