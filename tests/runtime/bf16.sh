#!/bin/sh
# --dtype bf16: a run learns as one in fp32 does, leaves fp32 weights behind, says when a run goes
# on in another type, generates and predicts, and makes the same bits on the pretend GPU.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() {
    echo "FAILED: $1"
    exit 1
}

. "$PAWL_SOURCE/tests/data/small.sh"
small_text 300 > text.txt
train() { # OUT and flags
    out=$1
    shift
    "$PAWL" train gpt:layers=2,heads=2,width=32,context=32,dropout=0.1 --data text:text.txt \
        --val 0.1 --out "$out" --batch 8 --seed 3 --lr 0.003 --threads 2 --json "$@"
}
loss() { # the last step's
    awk -F '"loss":' '/"event":"step"/ { n = $2 + 0 } END { print n }' "$1"
}

train wide --steps 150 > wide.json
train narrow --steps 150 --dtype bf16 > narrow.json
train sim --steps 150 --dtype bf16 --device sim > sim.json
"$PAWL" diff narrow sim > /dev/null || fail "the pretend GPU makes other bits"
"$PAWL" diff wide narrow > /dev/null && fail "bf16 makes the bits of fp32"
echo "loss: fp32 $(loss wide.json), bf16 $(loss narrow.json)"
awk -v a="$(loss wide.json)" -v b="$(loss narrow.json)" \
    'BEGIN { exit !(a > 0.5 && a < 4 && b > 0.97 * a && b < 1.03 * a) }' || fail "the losses differ"

# What it keeps is fp32, and tells what it was made in.
"$PAWL" inspect narrow --json > inspect.json
grep -q '"dtype": *"float32"' inspect.json || fail "no fp32 weights"
grep -q '"dtype": *"bfloat16"' inspect.json && fail "weights in bfloat16"
grep -q '"dtype": *"bf16"' inspect.json || fail "the training part does not name the type"
"$PAWL" convert narrow narrow.safetensors 2> /dev/null || fail "convert"

# The other way round, said plainly.
train wide --steps 160 --dtype bf16 > on.json 2> said
cat on.json said | grep -q 'dtype .*fp32.* -> .*bf16' || fail "nobody says that the type changed"
train narrow --steps 160 > back.json 2> said
cat back.json said | grep -q 'dtype .*bf16.* -> .*fp32' || fail "nobody says that it changed back"

# Rounding 2^-8 of each logit changes a text in the end, not its beginning.
for type in fp32 bf16; do
    "$PAWL" generate sim --prompt 'line 7: ' --tokens 40 --temperature 0 --dtype $type > $type.txt
done
cmp -s -n 12 fp32.txt bf16.txt || fail "other texts from the start: $(cat fp32.txt bf16.txt)"

npy() {
    head=$(printf "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" "$2" "$1")
    printf '\223NUMPY\001\000v\000%-117s\n' "$head"
}
{ npy '(96, 12)' '<f4'
  i=0
  while [ $i -lt 1152 ]; do
      printf "\\000\\000\\$(printf %03o $((128 + i * 7 % 101)))\\077"
      i=$((i + 1))
  done; } > x.npy
{ npy '(96,)' '|u1'; head -c 96 /dev/zero | tr '\0' '\1'; } > y.npy
"$PAWL" train mlp:12-16-5 --data npy:x.npy,y.npy --out rows --steps 5 --dtype bf16 \
    --json > mlp.json
for device in host sim; do
    "$PAWL" predict rows --input x.npy --output $device.npy --dtype bf16 --device $device 2> said
done
cmp host.npy sim.npy || fail "predictions depend on the device"
"$PAWL" predict rows --input x.npy --output fp32.npy 2> /dev/null
cmp -s host.npy fp32.npy && fail "predictions do not depend on the type"
[ "$(wc -c < host.npy)" = "$(wc -c < fp32.npy)" ] || fail "predictions of another size"

"$PAWL" bench step mlp:12-16-5 --dtype bf16 --seconds 0.1 --json > bench.json
grep -q '"dtype":"bf16"' bench.json || fail "bench"
code=0
train none --steps 1 --dtype fp8 > /dev/null 2>&1 || code=$?
[ $code = 64 ] || fail "fp8 exits $code"
