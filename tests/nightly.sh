#!/bin/sh
# test: nightly timeout=10800 once alone
# The programme at its long sizes, one row after the other, with its figures. What a row needs and
# does not find (root, a tool) is said and skipped. PAWL_NIGHTLY_PERCENT=10 runs a tenth of each,
# PAWL_NIGHTLY_CUTS=1000 so many cuts of each real file system.
# Figures also go to nightly.txt in the build directory, which `./go test --nightly` prints.
set -u

percent=${PAWL_NIGHTLY_PERCENT:-100} cuts=${PAWL_NIGHTLY_CUTS:-10000}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0 skipped=0 rows=0

report=$PAWL_BUILD/nightly.txt
say() { echo "$*" | tee -a "$report"; }
: > "$report"
say "$(date -u '+%Y-%m-%d %H:%M UTC'), $(nproc) x$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo |
    head -n 1), Linux $(uname -r)"

part() { echo $(($1 * percent / 100)); }

# row ID WORDS COMMAND...: its last lines are its figures.
row() {
    id=$1 words=$2
    shift 2
    rows=$((rows + 1))
    from=$(date +%s)
    code=0
    "$@" > "$log" 2>&1 || code=$?
    took=$(($(date +%s) - from))
    case $code in
    0) verdict=passed ;;
    77) verdict=skipped skipped=$((skipped + 1)) ;;
    *) verdict="FAILED ($code)" failed=$((failed + 1)) ;;
    esac
    say "== $id $words: $verdict, $took s"
    tail -n 100 "$log" | sed 's/^/   /' | tee -a "$report"
}

test=$PAWL_TESTS/checkpoint
row T01 "kill -9 at any moment" "$test-kill9" "$(part 1000)"
row T03+T05 "power cuts in two models of storage, and each sync left out" \
    "$test-powercut" "$(part 20000)"
row T05 "each check left out, each two steps exchanged" sh "$PAWL_SOURCE/tests/mutants.sh" all
row T07 "each call fails, once and from then on" "$test-faults"
row T08 "pairs of faults, the second in recovery" "$test-faults" "$(part 10000)"
row T09 "each request for memory fails" "$test-oom"
row T12 "snapshots while the state is overwritten, and each edge left out" \
    "$test-snapshot" "$(part 10000)"
row T13 "stored bytes change" "$test-bitrot" "$(part 100000)"
row T14 "space ends at each 4 KiB" "$test-enospc"
row T11 "the device fails around each write and sync" "$test-fsyncgate"
for kind in ext4 btrfs xfs; do
    row T04 "power cuts of a real $kind" "$test-blockcut" $kind "$(part "$cuts")"
done
say "$rows rows, $failed failed, $skipped skipped, at $percent % of their sizes"
[ $failed -eq 0 ]
