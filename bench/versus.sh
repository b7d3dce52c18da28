#!/bin/sh
# versus.sh: pawl's training step beside PyTorch's, alternating in one run, as ratios of medians and of
# minima. Needs a Python with torch (PYTHON=...); pawl itself does not.
#
#     PYTHON=venv/bin/python bench/versus.sh                  # gpt-small cnn mlp
#     PYTHON=venv/bin/python ROUNDS=5 SECONDS_EACH=10 bench/versus.sh gpt-small
set -eu
cd "$(dirname "$0")/.."
pawl=${PAWL:-build/pawl} python=${PYTHON:-python3} rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-6}
[ $# -gt 0 ] || set -- gpt-small cnn mlp
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

number() { # NAME: the first number after "NAME":
    sed -n "s/.*\"$1\": *{*\"*\([0-9.e+-]*\).*/\1/p" | head -1
}

echo "preset      pawl ms (min)      torch ms (min)    ratio of medians   of minima   of peak"
for preset; do
    batch=8
    [ "$preset" != cnn ] || batch=64
    [ "$preset" != mlp ] || batch=128
    : > "$rows"
    i=0
    while [ $i -lt "$rounds" ]; do
        mine=$("$pawl" bench step "$preset" --batch $batch --seconds "$seconds" --json)
        peer=$("$python" bench/peers/train_step.py --preset "$preset" --seconds "$seconds" --json |
            grep '"train.step"')
        echo "$(echo "$mine" | number median) $(echo "$mine" | number 'step_ms":{"min')" \
            "$(echo "$peer" | number median) $(echo "$peer" | number min)" \
            "$(echo "$mine" | number fraction_of_peak)" >> "$rows"
        i=$((i + 1))
    done
    # The best round of each: other tenants of a machine only ever add time.
    awk -v preset="$preset" '
        NR == 1 || $1 < a { a = $1 }
        NR == 1 || $2 < b { b = $2 }
        NR == 1 || $3 < c { c = $3 }
        NR == 1 || $4 < d { d = $4 }
        $5 > peak { peak = $5 }
        END { printf "%-10s %8.2f (%.2f) %10.2f (%.2f) %14.2f %14.2f %10.2f\n", preset, a, b, c, d,
              a / c, b / d, peak }' "$rows"
done
