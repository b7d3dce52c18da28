#!/bin/sh
# bench: pawl bench save and restore measure, tell it in each form, refuse what makes no sense, and
# leave nothing behind. No figure is judged: a machine may be busy.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir d

fail() {
    echo "bench: $1"
    cat out
    exit 1
}

"$PAWL" bench save mlp:16-32..64-4 --windows 2 --dir d -o csv >out || fail "save as csv"
[ "$(wc -l <out)" = 3 ] || fail "a head and two rows were expected"
head -1 out | grep -q "^model,state MB,step ms,.*extra steps mean,sd,p50,p99,.*of raw," || fail head
fields=$(head -1 out | tr ',' '\n' | wc -l)
awk -F, -v n="$fields" 'NF != n { exit 1 }' out || fail "rows of another length"
"$PAWL" bench save mlp:16-32-4 mlp:16-8-4 --windows 1 --dir d -o md >out || fail "save as md"
[ "$(grep -c '^| mlp:' out)" = 2 ] || fail "two rows were expected"
for io in posix ''; do
    "$PAWL" bench save mlp:16-32-4 --windows 2 --dir d --json ${io:+--io $io} >out || fail json
    for name in extra_steps call_stall_ms floor_ms raw_bytes_per_s first_over_steady \
        worst_step_ratio durable_bytes_per_s peak_rss_bytes cpu_steps extra_steps_paired \
        over_disk_steps raw_beside_bytes_per_s; do
        grep -q "\"$name\":" out || fail "no $name"
    done
    # The estimate lies within its interval, and a save takes some CPU time.
    p='"extra_steps_paired":{"estimate":\([^,]*\),"low":\([^,]*\),"high":\([^,]*\),'
    sed "s/.*$p.*/\\1 \\2 \\3/" \
        out | awk '{ exit !($2 <= $1 && $1 <= $3 && $2 < $3) }' || fail "the interval"
    sed 's/.*"sums":\([^,]*\),"write":\([^,]*\),"commit":\([^,]*\),.*/\1 \2 \3/' out |
        awk '{ exit !($1 > 0 && $2 > 0 && $3 > 0) }' || fail "CPU time by cause"
    [ -z "$io" ] || grep -q '"io":"posix"' out || fail "--io posix was not used"
done
"$PAWL" bench save mlp:16-32-4 --windows 2 --dir d >out || fail "save for people"
grep -q 'floor ' out && grep -q 'grace ' out || fail "no floor or grace"
"$PAWL" bench restore mlp:16-32-4 --windows 2 --dir d -o csv >out || fail "restore"
head -1 out | grep -q ',of raw,cold$' || fail "restore's head"
[ -z "$(ls d)" ] || fail "something is left in the directory"

rc=0
"$PAWL" bench save mlp:16-64..32-4 --dir d >out 2>&1 || rc=$?
[ $rc = 64 ] && grep -q 'a range goes' out || fail "an empty range"
rc=0
"$PAWL" bench save mlp:16-32-4 --dir d --host-memory 255MiB >out 2>&1 || rc=$?
[ $rc = 64 ] && grep -q '256MiB' out || fail "too little memory"
