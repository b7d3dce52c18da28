#!/bin/sh
# test: timeout=600
# RESUME: a run that is stopped and started again with the same command ends in the same bits as one
# that never stopped, for presets x optimizers x threads x ways to stop it; on the pretend GPU, with
# seeded delays, it ends in the bits of the host's run. Killed runs must really have been killed.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
failed=0 runs=0 killed=0

# A text and a small image set, the same on every machine.
. "$PAWL_SOURCE/tests/data/small.sh"
small_text 400 > text.txt
small_images text.txt
cat > tied.json <<'JSON'
{"pawl":1,"name":"tied","loss":"cross-entropy","layers":[
{"name":"input","kind":"input","inputs":[],"config":{"shape":[12]}},
{"name":"a","kind":"dense","inputs":["input"],
 "config":{"units":12,"bias":true,"activation":"tanh"}},
{"name":"b","kind":"dense","inputs":["a"],
 "config":{"units":12,"bias":true,"activation":"tanh","tied":"a.weight"}},
{"name":"out","kind":"dense","inputs":["b"],"config":{"units":5}}]}
JSON

{ npy '(96, 12)' '|u1'; head -c 1152 text.txt; } > rows.npy

STEPS=120

# train OUT THREADS: the command under test, for the model and optimizer at hand. It takes the place
# of the (sub)shell that calls it, so that a signal sent there reaches it.
train() {
    # shellcheck disable=SC2086
    exec "$PAWL" train $model --data $data --out "$1" --threads "$2" --optimizer "$optimizer" \
        $extra --device $device --steps $STEPS --save-every 15 --batch 8 --seed 3 --json
}

# stop HOW THREADS: one run that is stopped by HOW after its 40th step's event, then goes on. Prints
# the exit code of the first part.
stop_and_go() {
    rm -rf stopped events; mkfifo events
    train stopped "$2" > events 2> errors & pid=$!
    seen=0 code=0
    while read -r line; do
        case $line in
        *'"event":"step"'*) seen=$((seen + 1))
            [ $seen -ne 40 ] || kill "-$1" $pid 2> killed || true ;;
        esac
    done < events
    wait $pid 2> killed || code=$?
    (train stopped "$3") > again.json 2>> errors || { cat errors >&2; return 1; }
    echo $code
}

check() {
    name="$model $optimizer $extra on $device"
    rm -rf whole
    (device=host; train whole 1) > whole.json 2> errors || {
        cat errors; failed=$((failed + 1)); return
    }
    for how in KILL TERM; do
        for threads in '1 2' '2 1'; do
            runs=$((runs + 1))
            # shellcheck disable=SC2086
            code=$(stop_and_go $how $threads) || { failed=$((failed + 1)); continue; }
            case $how-$code in
            KILL-137 | TERM-75) killed=$((killed + 1)) ;;
            *-0) ;;  # it was quicker than we were
            *) echo "$name: SIG$how ended with $code"; failed=$((failed + 1)) ;;
            esac
            if ! "$PAWL" diff whole stopped > difference; then
                echo "$name, SIG$how, threads $threads: resumed run differs"
                head -5 difference
                failed=$((failed + 1))
            fi
        done
    done
}

export PAWL_SIM_SEED=11
device=host
for optimizer in adamw adam sgd rmsprop; do
    case $optimizer in
    sgd) extra='--momentum 0.9 --lr 0.01 --schedule cosine,warmup=10' ;;
    rmsprop) extra='--lr 0.001 --weight-decay 0.01' ;;
    adam) extra='--clip 1 --accumulate 2' ;;
    *) extra='--schedule linear,warmup=5,min=0.1' ;;
    esac
    model='gpt:layers=1,heads=2,width=32,context=16,dropout=0.1' data=text:text.txt; check
    model='mlp:12-16-5' data=npy:rows.npy,y.npy; check
    model=cnn.json data=npy:x.npy,y.npy; check
    model=tied.json data=npy:rows.npy,y.npy; check
done

optimizer=adamw extra='--dtype bf16 --clip 1 --schedule linear,warmup=5,min=0.1'
model='gpt:layers=1,heads=2,width=32,context=16,dropout=0.1' data=text:text.txt; check
optimizer=sgd extra='--dtype bf16 --momentum 0.9 --lr 0.01'
model=cnn.json data=npy:x.npy,y.npy; check
optimizer=rmsprop extra='--dtype bf16 --lr 0.001 --accumulate 2'
model='mlp:12-16-5' data=npy:rows.npy,y.npy; check

device=sim optimizer=adam extra='--dtype bf16'
model='gpt:layers=1,heads=2,width=32,context=16,dropout=0.1' data=text:text.txt; check
optimizer=adamw extra='--clip 1 --accumulate 2 --schedule linear,warmup=5'
model='gpt:layers=1,heads=2,width=32,context=16,dropout=0.1' data=text:text.txt; check
optimizer=sgd extra='--momentum 0.9 --lr 0.01'
model=cnn.json data=npy:x.npy,y.npy; check

echo "$runs stopped runs, $killed of them before their end, $failed failed"
[ $failed -eq 0 ] && [ $killed -ge $((runs / 2)) ]
