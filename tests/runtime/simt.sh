#!/bin/sh
# test: timeout=600
# simt: the GPU's kernels, on fibers, train: the loss is near the host's; the run ends in the same
# bits for any order of fibers and delays of streams, and when it is killed and goes on; what cannot
# be opened is refused. Skipped where the build has no libpawl-simt.so.
set -eu

[ -f "$PAWL_BUILD/libpawl-simt.so" ] || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export PAWL_SIMT_LIBRARY="$PAWL_BUILD/libpawl-simt.so"

. "$PAWL_SOURCE/tests/data/small.sh"
small_text 200 > text.txt
small_images text.txt

# train OUT KERNELS SEED: takes the (sub)shell's place.
train() {
    # shellcheck disable=SC2086
    PAWL_SIM_KERNELS=$2 PAWL_SIMT_SEED=$3 PAWL_SIM_SEED=$3 exec "$PAWL" train $model \
        --data "$data" --out "$1" $extra --device sim --steps 24 --save-every 6 --batch 4 \
        --seed 3 --json
}

bad() {
    echo "$model: $*"
    exit 1
}

last_loss() { sed -n 's/.*"event":"step".*"loss":\([0-9.e+-]*\).*/\1/p' "$1" | tail -1; }

check() {
    rm -rf host first other stopped
    (train host host 0) > host.log
    (train first cuda 0) > first.log
    a=$(last_loss host.log) b=$(last_loss first.log)
    echo "$model: loss $b, the host's $a"
    awk -v a="$a" -v b="$b" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-3 * a) ^ 2) }' ||
        bad "the GPU's kernels end at loss '$b', the host's at '$a'"
    (train other cuda 7) > /dev/null
    "$PAWL" diff first other > difference || bad "another order, other bits: $(head -3 difference)"
    rm -f events; mkfifo events
    (train stopped cuda 5) > events & pid=$!
    seen=0
    while read -r line; do
        case $line in
        *'"event":"step"'*) seen=$((seen + 1))
            [ $seen -ne 14 ] || kill -KILL $pid || true ;;
        esac
    done < events
    wait $pid 2> /dev/null && bad "the run was over before it was killed"
    (train stopped cuda 6) > /dev/null
    "$PAWL" diff first stopped > difference || bad "resumed, other bits: $(head -3 difference)"
}

model=gpt:layers=1,heads=2,width=16,context=8,dropout=0.1 data=text:text.txt
extra='--clip 1 --accumulate 2 --schedule linear,warmup=5'; check
model=cnn.json data=npy:x.npy,y.npy extra='--optimizer sgd --momentum 0.9 --lr 0.01'; check

PAWL_SIM_KERNELS=gpu "$PAWL" train $model --data $data --out none --device sim --steps 1 \
    2> words && bad "PAWL_SIM_KERNELS=gpu passes"
grep -q 'known: host cuda' words || bad "an unknown PAWL_SIM_KERNELS passes"
code=0
PAWL_SIMT_LIBRARY=$dir/none.so PAWL_SIM_KERNELS=cuda "$PAWL" train $model --data $data --out none \
    --device sim --steps 1 2> words || code=$?
[ $code = 69 ] || bad "without a library it ends with $code"
