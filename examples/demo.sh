#!/bin/sh
# demo: two models train on real data while snapshots are taken beside the steps; one run is killed
# in the middle of writing a snapshot, goes on, and is compared with a run that never stopped.
#
# `./go demo` runs it. PAWL: the binary (default: build/pawl). It needs no network and no Python,
# leaves runs/demo for the commands it ends with, and exits 1 when any of its proofs fails.
set -eu
cd "$(dirname "$0")/.."

pawl=${PAWL:-$PWD/build/pawl}
[ -x "$pawl" ] || {
    echo "demo: no $pawl. try: ./go demo" >&2
    exit 69
}
# What to type for it from here.
case $pawl in
"$PWD"/*) name=./${pawl#"$PWD"/} ;;
*) name=$pawl ;;
esac
work=$(mktemp -d "$(dirname "$pawl")/demo.XXXXXX")
work=${work#"$PWD"/}
keep=runs/demo
child=
failed=0
began=$(date +%s)

finish() {
    [ -z "$child" ] || kill -9 "$child" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- words

title() {
    printf '\n%s\n' "── $* ──"
}

say() {
    printf '%s\n' "$*" | fold -s -w 78
}

# Shows a command as one would type it, cut between flags to the width of a page.
show() {
    printf '%s\n' "pawl $*" | tr '\n' ' ' | awk '{
        line = "$ " $1
        for (i = 2; i <= NF; i++) {
            unit = $i
            if ($i ~ /^--/ && i < NF && $(i + 1) !~ /^--/) unit = unit " " $(++i)
            if (length(line) + length(unit) > 76) {
                print line " \\"
                line = "     "
            }
            line = line " " unit
        }
        print line
    }'
}

proof() {
    if [ "$1" = 0 ]; then
        printf '  ok      %s\n' "$2"
    else
        printf '  FAILED  %s\n' "$2"
        failed=$((failed + 1))
    fi
}

# stop WORDS: what pawl said on stderr, and the end.
stop() {
    echo "demo: $*" >&2
    [ ! -s "$work/errors" ] || cat "$work/errors" >&2
    exit 1
}

# field FILE EVENT NAME: the value in the last such event; strings lose their quotes.
field() {
    awk -v event="\"event\": *\"$2\"" -v name="\"$3\": *" '
        $0 ~ event && match($0, name) {
            value = substr($0, RSTART + RLENGTH)
            sub(/^"/, "", value)
            sub(/[",}\]].*/, "", value)
        }
        END { print value }' "$1"
}

# start ARGUMENTS: pawl in the background with its events in a pipe, which is descriptor 3.
start() {
    rm -f "$work/pipe"
    mkfifo "$work/pipe"
    "$pawl" "$@" --json >"$work/pipe" 2>"$work/errors" &
    child=$!
    exec 3<"$work/pipe"
}

# reap: waits for it; its exit code is in $code.
reap() {
    exec 3<&-
    code=0
    wait "$child" 2>/dev/null || code=$?
    child=
}

# ---- the run that everything is about

if [ -f kernels/tensor.h ]; then
    text=text:kernels
    prompt='// The '
else
    text=text:/usr/share/common-licenses
    prompt='The '
fi
steps=500
model="gpt:layers=3,heads=4,width=128,context=64 --data $text --batch 16 --lr 4e-3
       --betas 0.9,0.98 --schedule cosine,warmup=20 --clip 1 --seed 7"
# The same for the run that is killed and the one that never stops, but for where it goes.
language="$model --steps $steps --save-every 40"

# learn WHERE: for people.
learn() {
    # shellcheck disable=SC2086 # a list of words
    "$pawl" train $language --out "$1" --log-every 50
}

# being_written STEP: waits until the file of that step's snapshot is there; gives up after seconds.
being_written() {
    place=$keep/gpt/step-$(printf %016x "$1")
    looks=0
    while [ $looks -lt 200000 ]; do
        for file in "$place"-*/shard-*; do
            [ ! -e "$file" ] || return 0
        done
        looks=$((looks + 1))
    done
}

# Starts the run and kills it between `taken` and `durable` of one snapshot, when two are durable.
# Exits 0 when that snapshot was being written as the process died, 1 when it was written already.
kill_mid_persist() {
    durable=0
    taken=
    # shellcheck disable=SC2086
    start train $language --out "$keep/gpt"
    while IFS= read -r event <&3; do
        case $event in
        *'"save"'*'"durable"'*)
            durable=$((durable + 1))
            ;;
        *'"save"'*'"taken"'*)
            [ $durable -ge 2 ] || continue
            printf '%s\n' "$event" >"$work/taken"
            taken=$(field "$work/taken" save step)
            being_written "$taken"
            kill -9 "$child" 2>/dev/null || true
            break
            ;;
        esac
    done
    reap
    [ -n "$taken" ] || stop "the run ended (exit $code) before it could be killed"
    [ $code = 137 ] || stop "the run ended with exit $code, not by the signal"
    "$pawl" ckpt ls "$keep/gpt" --json | tr -d ' \n' | tr '}' '\n' |
        grep -q "\"step\":$taken,.*\"uncommitted\""
}

# ---- sync against async

# measure MODE: one row of the table, from the run's last event.
measure() {
    # shellcheck disable=SC2086
    "$pawl" train $model --steps 40 --save-every 5 --save-mode "$1" --out "$work/$1" --json \
        >"$work/$1.json" 2>"$work/errors" || stop "the $1 run failed"
    for figure in count stall_ms_p50 stall_ms_max step_ms_p50 step_ms_p50_while_saving \
        extra_steps_per_save; do
        printf '%s ' "$(field "$work/$1.json" 'done' $figure)"
    done | awk -v mode="$1" '{
        beside = mode == "sync" ? sprintf("%10s   ", "-") : sprintf("%10.1f ms", $5)
        printf "  %-7s %5d %10.1f ms %10.1f ms", mode, $1, $2, $3
        printf " %8.1f ms %s %6.2f\n", $4, beside, $6
    }'
}

# ---- images

images=/usr/share/datasets/fashion-mnist

# follow: what the events on descriptor 3 say, in one line that is redrawn, or now and then.
follow() {
    last=0
    while IFS= read -r event <&3; do
        printf '%s\n' "$event" >>"$work/events"
        case $event in
        *'"event":"step"'* | *'"event": "step"'*) ;;
        *) continue ;;
        esac
        number=${event#*\"step\":}
        number=${number%%,*}
        loss=${event#*\"loss\":}
        loss=${loss%%,*}
        if [ -t 1 ]; then
            printf '\r  step %s of %s, loss %.6s ' "${number# }" "$1" "${loss# }"
        elif [ $((number - last)) -ge 100 ]; then
            last=$number
            printf '  step %s of %s, loss %.6s\n' "${number# }" "$1" "${loss# }"
        fi
    done
    [ ! -t 1 ] || echo
}

image_steps=720
vision="--steps $image_steps --batch 64 --optimizer adam --lr 2e-3 --schedule linear,warmup=20
        --seed 7 --save-every 100"

learn_images() {
    : >"$work/events"
    # shellcheck disable=SC2086 # a list of words
    show train cnn:fashion --data "idx:$images" $vision --out "$keep/fashion"
    # shellcheck disable=SC2086
    start train cnn:fashion --data "idx:$images" $vision --out "$keep/fashion"
    follow $image_steps
    reap
    [ $code = 0 ] || stop "the image run ended with exit $code"
    accuracy=$(field "$work/events" eval '[a-z_]*accuracy')
    seconds=$(field "$work/events" 'done' seconds)
    proof "$(awk "BEGIN { print !($accuracy >= 0.89) }")" \
        "$(awk "BEGIN { printf \"test accuracy %.2f %% (asked for: 89)\", 100 * $accuracy }")"
    # How long it takes is the machine's affair too, so it is told and fails nothing.
    awk "BEGIN {
        printf \"          in %.0f s with its tests\", $seconds
        print $seconds <= 60 ? \"\" : \" (60 s are meant for 2 cores that do nothing else)\"
    }"
}

# ---- what one watches

rm -rf "$keep"
mkdir -p "$keep"

title "1. A small language model, saved every 40 steps beside the training"
# shellcheck disable=SC2086
show train $language --out "$work/whole"
learn "$work/whole" || stop "training failed"

title "2. The same run, killed (kill -9) while it writes a snapshot"
# shellcheck disable=SC2086
show train $language --out "$keep/gpt" --json
tries=1
until kill_mid_persist; do
    [ $tries -lt 8 ] || stop "in $tries runs the disk was always quicker than the signal"
    tries=$((tries + 1))
    say "  step $taken was on the disk before the signal came. Once more, going on from there."
done
say "  killed: step $taken was copied and being written. What there is now:"
"$pawl" ckpt ls "$keep/gpt" | sed -e "s|$keep/gpt/||" -e 's/ was never committed$//'

title "3. The same command again"
# shellcheck disable=SC2086
show train $language --out "$keep/gpt"
learn "$keep/gpt" || stop "the run did not go on"

title "4. Is it the run that never stopped?"
show diff "$keep/gpt" "$work/whole"
code=0
"$pawl" diff "$keep/gpt" "$work/whole" || code=$?
proof $code "killed and resumed = never stopped, bit for bit"
code=0
"$pawl" verify "$keep/gpt" >"$work/verify" 2>&1 || code=$?
proof $code "every byte of the killed run's snapshots verifies"

title "5. What it has learnt"
show generate "$keep/gpt" --prompt "'$prompt'" --tokens 300 --temperature 0.6
"$pawl" generate "$keep/gpt" --prompt "$prompt" --tokens 300 --temperature 0.6 --seed 1 \
    >"$work/sample" || stop "generate failed"
# Bytes that are no text would upset a terminal.
tr -c '\n\t -~' '?' <"$work/sample" | fold -w 76 | sed 's/^/  | /'

title "6. What saving costs: waiting for the disk, and not"
echo "  mode    saves     stall p50     stall max        step  beside a save  extra"
measure sync
measure async
say "  stall: how long a save kept the training waiting (the last save is waited for in both" \
    "modes); extra: the steps that one save cost."

title "7. An image model: Fashion-MNIST, 60,000 pictures, tested on 10,000 others"
if [ -d "$images" ]; then
    learn_images
else
    proof 1 "no $images. try: apt-get install dataset-fashion-mnist"
fi

title "8. What is in a run"
show inspect "$keep/gpt"
"$pawl" inspect "$keep/gpt" >"$work/inspect" || stop "inspect failed"
head -n 24 "$work/inspect" | cut -c 1-79

title "Next"
cat <<END
  $name ckpt ls $keep/fashion
  $name train $keep/gpt --data $text --take weights \\
      --steps 500 --out runs/longer
  $name bench save gpt-small
END
echo
if [ $failed = 0 ]; then
    echo "All proofs hold, after $(($(date +%s) - began)) s."
else
    echo "$failed proofs FAILED, after $(($(date +%s) - began)) s."
    exit 1
fi
