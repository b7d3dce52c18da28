#!/bin/sh
# test: timeout=300
# Real files of Keras, tf.keras and PyTorch into every format that can carry them: what comes out
# predicts the same, to the bit, also where it needs the first file beside it for the architecture.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
data=$PAWL_SOURCE/tests/checkpoint/data
cd "$dir"
failed=0 checks=0

# rows FILE COUNT SHAPE: COUNT float32 numbers of that shape, from 1.0 upwards in odd bit patterns.
rows() {
    head=$(printf "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }" "$3")
    printf '\223NUMPY\001\000v\000%-117s\n' "$head" > "$1"
    i=0
    while [ $i -lt "$2" ]; do
        # shellcheck disable=SC2059 # octal bytes of a float in [0.5, 2)
        printf "\\$(printf %03o $((i * 37 % 256)))\\$(printf %03o $((i * 91 % 256)))"
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $((i * 53 % 256)))\\077"
        i=$((i + 1))
    done >> "$1"
}

# check SOURCE X FORMAT...: converts to each and compares predictions.
check() {
    source=$1 x=$2
    shift 2
    "$PAWL" predict "$source" --input "$x" --output want.npy --force > out 2>&1 ||
        { echo "$source does not predict"; cat out; failed=$((failed + 1)); return; }
    for format; do
        checks=$((checks + 1))
        rm -rf made got.npy
        if ! "$PAWL" convert "$source" made --to "$format" > out 2>&1; then
            echo "$source -> $format"; cat out; failed=$((failed + 1)); continue
        fi
        "$PAWL" predict made --input "$x" --output got.npy > out 2>&1 ||
            "$PAWL" predict made --input "$x" --output got.npy --arch "$source" > out 2>&1 ||
            { echo "$source -> $format does not predict"; cat out; }
        cmp want.npy got.npy || { echo "$source -> $format"; failed=$((failed + 1)); }
    done
}

rows x12.npy 60 '(5, 12)'
rows nhwc.npy 480 '(3, 10, 8, 2)'
rows nchw.npy 480 '(3, 2, 10, 8)'
WEIGHTS="safetensors npz pth"
KERAS="keras keras-h5 keras-weights h5-weights"
# shellcheck disable=SC2086 # lists of words
{
    check "$data/keras/keras-mlp/model.keras" x12.npy pawl $WEIGHTS $KERAS pth-model pth-checkpoint
    check "$data/keras/tfkeras-cnn/model.h5" nhwc.npy pawl $WEIGHTS $KERAS pth-checkpoint
    check "$data/torch/torch-mlp-model.pth" x12.npy pawl $WEIGHTS $KERAS pth-model
    check "$data/torch/torch-cnn-model.pth" nchw.npy pawl $WEIGHTS $KERAS pth-model
}

# A format that cannot carry the layers says which, and leaves nothing behind.
checks=$((checks + 1)) code=0
"$PAWL" convert "$data/torch/torch-encoder-model.pth" no.keras > out 2> err || code=$?
if [ $code -ne 65 ] || [ -e no.keras ] || ! grep -q "layer '1.self_attn'" err; then
    echo "an encoder to Keras: exit $code"; cat err; failed=$((failed + 1))
fi

echo "$checks checks, $failed failed"
[ $failed -eq 0 ]
