#!/bin/sh
# save_stall.sh: what a save costs pawl and PyTorch, on a network of the same shape and state, as one
# table. Needs a Python with torch (PYTHON=...); pawl itself does not. On a busy machine `extra` is
# noise: its sd stands beside it.
#
#     PYTHON=venv/bin/python bench/save_stall.sh              # 40 MB of state
#     PYTHON=venv/bin/python BATCH=256 bench/save_stall.sh 40 200
set -eu
cd "$(dirname "$0")/.."
pawl=${PAWL:-build/pawl} python=${PYTHON:-python3} windows=${WINDOWS:-6} batch=${BATCH:-128}
dir=${DIR:-.} width=${WIDTH:-512}
[ $# -gt 0 ] || set -- 40

# number NAME: the first number after "NAME":, in JSON on standard input
number() {
    sed -n "s/.*\"$1\": *{*\"*\([a-z0-9]*\": *\)*\([-0-9.e+]*\).*/\2/p" | head -1
}

row() { # WHO STATE_BYTES STEP_MS CALL_MS EXTRA SD WORST DURABLE FIRST
    awk -v who="$1" -v state="$2" -v step="$3" -v call="$4" -v extra="$5" -v sd="$6" -v worst="$7" \
        -v rate="$8" -v first="$9" 'BEGIN { printf \
        "| %-11s | %8.1f | %8.1f | %9.3f | %+8.3f | %6.3f | %6.2f | %6.3f | %5.2f |\n",
        who, state / 1e6, step, call, extra, sd, worst, rate / 1e9, first }'
}

echo "| who         | state MB |  step ms |   call ms | extra st |     sd |  worst |   GB/s | first |"
echo "|-------------|---------:|---------:|----------:|---------:|-------:|-------:|-------:|------:|"
for megabytes; do
    blocks=$(awk -v mb="$megabytes" -v w="$width" 'BEGIN {
        n = int(mb * 1e6 / 12 / (8 * w * w) + 0.5); print n < 1 ? 1 : n }')
    # The same layers: width, 4 width, width, ...
    shape=$width
    i=0
    while [ $i -lt "$blocks" ]; do
        shape=$shape-$((4 * width))-$width
        i=$((i + 1))
    done
    mine=$("$pawl" bench save "mlp:$shape" --batch "$batch" --windows "$windows" --dir "$dir" --json)
    row pawl "$(echo "$mine" | number state_bytes)" "$(echo "$mine" | number step_ms)" \
        "$(echo "$mine" | sed 's/.*"call_stall_ms"[^}]*"p50":\([^,]*\),.*/\1/')" \
        "$(echo "$mine" | sed 's/.*"extra_steps":{"mean":\([^,]*\),.*/\1/')" \
        "$(echo "$mine" | sed 's/.*"extra_steps":{[^}]*"sd":\([^,]*\),.*/\1/')" \
        "$(echo "$mine" | number worst_step_ratio)" "$(echo "$mine" | number durable_bytes_per_s)" \
        "$(echo "$mine" | number first_over_steady)"
    "$python" bench/peers/save_stall.py --state-mb "$megabytes" --width "$width" --batch "$batch" \
        --windows "$windows" --dir "$dir" |
        while read -r line; do
            row "$(echo "$line" | sed 's/.*"mode": "\([^"]*\)".*/\1/')" \
                "$(echo "$line" | number state_bytes)" "$(echo "$line" | number step_ms)" \
                "$(echo "$line" | number call_ms)" "$(echo "$line" | number extra_steps)" \
                "$(echo "$line" | number extra_sd)" "$(echo "$line" | number worst_step)" \
                "$(echo "$line" | number durable_bytes_per_s)" \
                "$(echo "$line" | number first_over_steady)"
        done
done
