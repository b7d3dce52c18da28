#!/bin/sh
# test: timeout=120
# plugin: what pawl says where the device cuda is not there, for each reason that shows without a
# GPU; that it goes on with the host; and that a library of another build is refused unopened.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
seq 2000 >numbers.txt

fail() {
    echo "plugin: $1"
    cat "$2"
    exit 1
}

# refuses WORDS: doctor and `--device cuda` give these words, the latter exits 69.
refuses() {
    "$PAWL" doctor --json >doctor.json
    grep -qF "$1" doctor.json || fail "doctor does not say '$1':" doctor.json
    status=0
    train --device cuda 2>words || status=$?
    [ $status = 69 ] && grep -qF "$1" words ||
        fail "--device cuda exits $status, not 69 with '$1':" words
}

train() {
    rm -rf run
    "$PAWL" train gpt:layers=1,heads=1,width=16,context=16 --data numbers.txt --out run --steps 2 \
        "$@"
}

export PAWL_CUDA_LIBRARY="$work/nowhere.so"
refuses "there is no such file"
train >out 2>&1 || fail "--device auto does not go on with the host:" out
# The terminal's lines may be broken anywhere.
tr '\n' ' ' <out | grep -q "on host (.*no GPU:.*there is no such file" ||
    fail "--device auto does not say why it means host:" out
train --device host >out 2>&1
if grep -q "no GPU" out; then fail "--device host explains itself:" out; fi

export PAWL_CUDA_LIBRARY="$work/text.so"
echo "no library" >text.so
refuses "cannot be loaded"

cc=${CC:-cc}
command -v "$cc" >/dev/null || { echo "no $cc here: the rest is not run"; exit 77; }
echo 'int other_symbol;' | "$cc" -x c - -shared -fPIC -o stranger.so
PAWL_CUDA_LIBRARY="$work/stranger.so" refuses "is no plugin of pawl"

# As a plugin of another version looks; its start() would end the program.
echo '#include <stdlib.h>
struct { unsigned facts[6]; void (*start)(void); void *rest[3]; } pawl_plugin = { {99}, abort };' |
    "$cc" -x c - -shared -fPIC -o other.so
PAWL_CUDA_LIBRARY="$work/other.so" refuses "belongs to another build of pawl"

unset PAWL_CUDA_LIBRARY
[ -e "$PAWL_BUILD/libpawl-cuda.so" ] || { echo "built without cuda: the rest is not run"; exit 0; }
status=0
train --device cuda:x 2>words || status=$?
grep -q "after cuda comes a number" words && [ $status = 64 ] ||
    fail "--device cuda:x exits $status:" words
"$PAWL" doctor --json >doctor.json
if grep -q '"gpu":null' doctor.json; then
    grep -qE 'no NVIDIA driver is loaded|driver is too old|shows no GPU|driver refuses' \
        doctor.json ||
        fail "doctor has no words of the driver's:" doctor.json
else
    status=0
    train --device cuda:4000 2>words || status=$?
    grep -q "the driver shows [0-9]* GPU" words && [ $status = 69 ] ||
        fail "--device cuda:4000 exits $status:" words
fi
