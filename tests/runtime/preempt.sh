#!/bin/sh
# test: timeout=300
# preempt: whenever a signal comes (start-up, a step, a save, validation) the run ends with 75 and
# its newest step durable; --max-duration does the same; the grace is told.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
. "$PAWL_SOURCE/tests/data/small.sh"
small_text 3000 > text.txt

fail() {
    echo "preempt: $1"
    tail -4 out err 2>/dev/null || true
    exit 1
}

# An epoch is some 40 steps, and its validation takes about as long as they.
train() {
    exec "$PAWL" train gpt:layers=1,heads=2,width=32,context=32 --data text.txt --val 0.98 \
        --batch 2 --out run --steps 1000000 --save-every "$1" --json >out 2>err
}

# check: what ended with a signal is durable, and nothing of it was lost.
check() { # NAME STATUS
    [ "$2" = 75 ] || fail "$1: exit $2 instead of 75"
    "$PAWL" verify run >verified 2>&1 || fail "$1: the run does not verify"
    step=$(sed -n 's/.*"event":"step","step":\([0-9]*\).*/\1/p' out | tail -1)
    # The names hold the step in hexadecimal.
    durable=$(find run -name MANIFEST | sed 's/.*step-\([0-9a-f]*\)-.*/0x\1/' |
        while read -r hex; do echo $((hex)); done | sort -n | tail -1)
    [ -z "$step" ] || [ "$step" = "$durable" ] || fail "$1: step $step, but $durable is durable"
}

n=0
for signal in TERM INT USR1 USR2 HUP; do
    for pause in 0.02 0.15 0.6; do
        rm -rf run out
        # Every step is saved: the signal meets saves as well as steps.
        (train 1steps) &
        pid=$!
        sleep $pause
        # A shell starts what runs beside it with INT ignored, until pawl has its own handler.
        while [ $signal = INT ] && [ ! -s out ] && kill -0 $pid 2>/dev/null; do sleep 0.02; done
        kill -$signal $pid 2>/dev/null || fail "$signal after $pause: it had ended"
        status=0
        wait $pid || status=$?
        # Before its handlers are there a signal ends a process as it always does.
        if [ -s out ] || [ $status = 75 ]; then
            check "$signal after $pause" $status
            n=$((n + 1))
        fi
    done
done
[ $n -ge 8 ] || fail "only $n runs had begun when the signal came"

rm -rf run
status=0
(exec "$PAWL" train gpt:layers=1,heads=2,width=32,context=32 --data text.txt --batch 2 --out run \
    --steps 1000000 --save-every 50steps --max-duration 1 --json >out 2>err) || status=$?
check max-duration $status
grep -q '"action":"save and exit"' out || fail "max-duration was not told"
grep -q 'grace needed ~ ' err || fail "no grace was told"
echo "preempt: $n signals, each with its step durable"
