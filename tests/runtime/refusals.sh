#!/bin/sh
# test: timeout=300
# Bad input: each gets one clear message and its exit code, and no snapshot is lost. Every line of
# the messages is checked for the words a person needs: the file, what is wrong, what to try.
set -eu

dir=$(mktemp -d)
mounted=
trap 'for m in $mounted; do umount "$m"; done; rm -rf "$dir"' EXIT
cd "$dir"
failed=0 checks=0

i=0
while [ $i -lt 300 ]; do
    echo "line $i: a pawl is the catch that keeps a ratchet from slipping back $((i * i % 97))"
    i=$((i + 1))
done > text.txt
cp text.txt grows.txt

npy() {
    head=$(printf "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" "$2" "$1")
    printf '\223NUMPY\001\000v\000%-117s\n' "$head"
}
{ npy '(64, 4)' '|u1'; head -c 256 text.txt; } > x.npy
{ npy '(64,)' '|u1'; head -c 64 /dev/zero | tr '\0' '\2'; } > y.npy
{ npy '(64,)' '|u1'; head -c 63 /dev/zero; printf '\007'; } > seven.npy
{ npy '(64,)' '|u1'; head -c 20 /dev/zero; } > short.npy

# refuse CODE 'WORD|WORD|...' COMMAND...: its exit code, all words on stderr, one line of it, and
# nothing on stdout.
refuse() {
    want=$1 words=$2
    shift 2
    checks=$((checks + 1)) code=0
    "$@" > out 2> err || code=$?
    if [ $code -ne "$want" ]; then
        echo "exit $code instead of $want: $*"; cat err; failed=$((failed + 1)); return
    fi
    old=$IFS; IFS='|'
    for word in $words; do
        if ! grep -qF -- "$word" err; then
            echo "no word of '$word': $*"; cat err; failed=$((failed + 1))
        fi
    done
    IFS=$old
    if [ "$(grep '^pawl: ' err | grep -cv 'fresh start\|passed over\|goes on with')" -ne 1 ]; then
        echo "not one message: $*"; cat err; failed=$((failed + 1))
    fi
    if grep -q 'Sanitizer' err; then cat err; failed=$((failed + 1)); fi
}

# keeps DIR STEP: the run still has that snapshot, whole.
keeps() {
    checks=$((checks + 1))
    "$PAWL" verify "$1" > out 2>&1 || {
        echo "$1 does not verify"
        cat out
        failed=$((failed + 1))
    }
    "$PAWL" ckpt ls "$1" --json > list || failed=$((failed + 1))
    grep -q "\"step\": *$2," list || {
        echo "$1 has lost step $2"
        cat list
        failed=$((failed + 1))
    }
}

GPT=gpt:layers=1,heads=2,width=32,context=16
train() { "$PAWL" train "$@" --batch 4 --seed 1 --quiet; }

# ---- flags
refuse 64 'train|did you mean' "$PAWL" trian
refuse 64 '--step|did you mean|--steps' "$PAWL" train $GPT --step 3
refuse 64 '--steps' "$PAWL" train $GPT --steps many
refuse 64 '--data' train $GPT --out a --steps 1
refuse 64 '--out' train $GPT --data text:text.txt --steps 1
refuse 64 'latest=1' train $GPT --data text:text.txt --out a --steps 1 --keep latest=1
refuse 64 '--accumulate|--batch' "$PAWL" train $GPT --data text:text.txt \
    --out a --steps 1 --batch 4 --accumulate 3
refuse 64 'layers' train gpt:layer=3 --data text:text.txt --out a --steps 1
refuse 64 'warmup' train $GPT --data text:text.txt --out a --steps 1 --schedule cosine,warm=3
refuse 64 '--steps|--epochs' train $GPT --data text:text.txt --out a --steps 1 --epochs 2
refuse 64 '--seq|16' train $GPT --data text:text.txt --out a --steps 1 --seq 64
refuse 69 'cuda' train $GPT --data text:text.txt --out a --steps 1 --device cuda
refuse 66 'no-such' train no-such-model.json --data text:text.txt --out a --steps 1

# ---- data
refuse 66 'nowhere' train $GPT --data text:nowhere --out a --steps 1
refuse 66 'nowhere' train mlp:4-3 --data npy:nowhere.npy,y.npy --out a --steps 1
: > empty.txt
refuse 66 'empty.txt' train $GPT --data text:empty.txt --out a --steps 1
refuse 65 'short.npy' train mlp:4-3 --data npy:x.npy,short.npy --out a --steps 1
refuse 65 'label 7|0..2' train mlp:4-3 --data npy:x.npy,seven.npy --out a --steps 1
refuse 65 '[4]|[5]' train mlp:5-3 --data npy:x.npy,y.npy --out a --steps 1
refuse 65 '4 rows of output|1 labels' train $GPT --data npy:x.npy,y.npy --out a --steps 1
{ npy '(8, 9)' '|u1'; head -c 72 text.txt; } > wide.npy
{ npy '(8,)' '|u1'; head -c 8 /dev/zero; } > eight.npy
refuse 65 'shape' train mlp:4-3 --data npy:x.npy,y.npy --val npy:wide.npy,eight.npy --out a \
    --steps 1
refuse 65 'label 7|0..2' train mlp:4-3 --data npy:x.npy,y.npy --val npy:x.npy,seven.npy \
    --out a --steps 1
cat > column.json <<'JSON'
{"pawl":1,"name":"column","loss":"cross-entropy","layers":[
{"name":"input","kind":"input","inputs":[],"config":{"shape":[4,1]}},
{"name":"out","kind":"dense","inputs":["input"],"config":{"units":3}}]}
JSON
refuse 65 '4 rows|1 labels' train column.json --data npy:x.npy,y.npy --out a --steps 1
head -c 4096 text.txt > tokens.bin
refuse 65 'token|0..9' train gpt:layers=1,heads=2,width=32,context=16,vocab=10 \
    --data tokens:tokens.bin --out b --steps 1
refuse 64 'val_loss' train $GPT --data text:text.txt --out a --steps 1 \
    --keep latest=2,best=1:accuracy:max
refuse 64 '--export' train $GPT --data text:text.txt --save-mode off --steps 1 \
    --export e.safetensors
[ ! -e a ] || { echo "refused runs left a directory"; failed=$((failed + 1)); }

# ---- a run, and what it must survive
train $GPT --data text:grows.txt --out run --steps 20 --save-every 10
keeps run 20

echo more >> grows.txt
refuse 65 'grows.txt' train $GPT --data text:grows.txt --out run --steps 30
cp text.txt grows.txt
keeps run 20
refuse 65 'run|[256, 32]|[256, 48]' train gpt:layers=1,heads=2,width=48,context=16 \
    --data text:grows.txt --out run --steps 30
keeps run 20
refuse 64 '--optimizer|sgd|adamw' train $GPT --data text:grows.txt \
    --out run --steps 30 --optimizer sgd
refuse 64 '--seed' "$PAWL" train $GPT --data text:grows.txt --out run --steps 30 --batch 4 --seed 2
refuse 73 '--resume never|another --out' train $GPT --data text:grows.txt \
    --out run --steps 30 --resume never
refuse 65 '--shuffle|another --out' train $GPT --data text:grows.txt --out run --steps 30 \
    --no-shuffle
refuse 65 '--val' train $GPT --data text:grows.txt --out run --steps 30 --val 0.2
refuse 66 'must' train $GPT --data text:grows.txt --out fresh --steps 30 --resume must
refuse 66 '3' train $GPT --data text:grows.txt --out run --steps 30 --resume -3
refuse 66 '7' train $GPT --data text:grows.txt --out run --steps 30 --resume 7
refuse 65 'nan|--lr' train $GPT --data text:grows.txt \
    --out nan --steps 40 --save-every 1 --lr 1e30
refuse 65 'loss is|--lr' train $GPT --data text:grows.txt --out run --steps 40 --lr 1e30
keeps run 20
echo file > plain
refuse 73 'plain' train $GPT --data text:grows.txt --out plain --steps 1
refuse 73 'missing/deep' train $GPT --data text:grows.txt --out missing/deep --steps 1

# ---- in use by a live process
mkfifo hold
"$PAWL" train $GPT --data text:grows.txt \
    --out run --steps 1000000 --batch 4 --seed 1 --json > hold 2> holder & holder=$!
exec 3< hold
read -r _ <&3
refuse 73 "run|$holder|$(hostname)" train $GPT --data text:grows.txt --out run --steps 30
kill -9 $holder
wait $holder 2> /dev/null || :
exec 3<&-
keeps run 20

# ---- damage: the newest is passed over loudly, and alone it stops the run
train $GPT --data text:grows.txt --out hurt --steps 30 --save-every 10
for d in hurt/step-*; do newest=$d; done
printf 'X' | dd of="$newest/shard-00000.safetensors" bs=1 seek=9000 conv=notrunc 2> dd.err
refuse 65 'shard-00000.safetensors' "$PAWL" verify hurt
refuse 65 'shard-00000.safetensors' "$PAWL" generate hurt --tokens 4
refuse 65 'shard-00000.safetensors' train hurt --data text:grows.txt --out a --steps 40
rm -rf a
code=0
train $GPT --data text:grows.txt --out hurt --steps 32 > out 2> err || code=$?
checks=$((checks + 1))
if [ $code -ne 0 ] || ! grep -q 'passed over' err; then
    echo "a damaged snapshot was not passed over: exit $code"; cat err; failed=$((failed + 1))
fi
checks=$((checks + 1))
whole=0
for d in hurt/step-*; do if "$PAWL" verify "$d" > out 2>&1; then whole=$((whole + 1)); fi; done
[ $whole -ge 2 ] || { echo "after a fallback only $whole snapshots are whole"; ls hurt;
    failed=$((failed + 1)); }
for d in hurt/step-*; do printf 'X' | dd of="$d/MANIFEST" bs=1 seek=40 conv=notrunc 2> dd.err; done
refuse 65 'hurt|no snapshot is whole' train $GPT --data text:grows.txt --out hurt --steps 40

# ---- going back to an older step makes a branch, and the branch is the run
train $GPT --data text:grows.txt --out branch --steps 30 --save-every 10 > out 2>&1
train $GPT --data text:grows.txt --out branch --steps 25 --resume 10 --lr 0.002 \
    --export branch.safetensors > out 2>&1
checks=$((checks + 1))
"$PAWL" convert branch again.safetensors --only weights > out 2>&1
"$PAWL" diff branch.safetensors again.safetensors > out 2>&1 ||
    { echo "the branch is not the run"; cat out; failed=$((failed + 1)); }
"$PAWL" train $GPT --data text:grows.txt --out branch --steps 26 --batch 4 --seed 1 \
    --json > out 2> err
grep -q '"resumed_from":25' out ||
    { echo "resumed from another branch"; head -1 out; failed=$((failed + 1)); }

# ---- what is kept and said when a run goes on
refuse 64 '--export|foo.xyz|PATH=FORMAT' train $GPT --data text:text.txt --out never --steps 3 \
    --export foo.xyz
train $GPT --data text:text.txt --out goes --steps 4 --save-every 2 --meta 'a=1' --meta 'b=1'
train $GPT --data text:text.txt --out goes --steps 6 --meta 'b=2' --lr 0.25 2> err
grep -q 'goes on with other settings: learning_rate 0.001 -> 0.25$' err ||
    { echo "a changed --lr is not told"; cat err; failed=$((failed + 1)); }
"$PAWL" inspect goes --json > out
tr -d ' \n' < out | grep -q '"metadata":{"a":1,"b":2}' ||
    { echo "--meta was not carried over"; cat out; failed=$((failed + 1)); }
train $GPT --data text:text.txt --out goes --steps 6 --lr 0.25 2> err
grep -q 'already at step 6 of 6' err || { echo "done is not told"; failed=$((failed + 1)); }
checks=$((checks + 3))
for shard in goes/step-*6-*/shard-00000.safetensors; do
    printf X | dd of="$shard" bs=1 seek=30000 conv=notrunc 2> dd.err
done
refuse 65 'shard-00000.safetensors|bytes' "$PAWL" diff goes goes
"$PAWL" ckpt ls goes > out && code=0 || code=$?
[ $code -eq 0 ] || { echo "ckpt ls reads payloads unasked"; failed=$((failed + 1)); }
"$PAWL" ckpt ls goes --verify > out 2> err && code=0 || code=$?
[ $code -eq 0 ] && grep -q damaged out ||
    { echo "ckpt ls --verify: exit $code"; cat out err; failed=$((failed + 1)); }
checks=$((checks + 2))

# ---- a full and a read-only file system, where we may mount one
mkdir small
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=2m tmpfs small 2> mount.err; then
    mounted=small
    train $GPT --data text:grows.txt --out small/run --steps 10 --save-every 5
    keeps small/run 10
    head -c 1500000 /dev/zero > small/ballast 2> /dev/null || :
    refuse 74 'small/run' train $GPT --data text:grows.txt \
        --out small/run --steps 20 --save-every 100
    keeps small/run 10
    rm small/ballast
    mount -o remount,ro small
    refuse 73 'small/run' train $GPT --data text:grows.txt --out small/run --steps 20
    keeps small/run 10
else
    echo "not mounted: the full and the read-only file system are not checked here"
fi

echo "$checks checks, $failed failed"
[ $failed -eq 0 ]
