#!/bin/sh
# test: timeout=900 once
# SYSCALL-ONCE: in a tiny run that resumes, trains, saves and collects, every file system call fails
# once (strace's fault injection). Whatever the run then does, it must not crash; a step that it
# called durable must be resumed by the next, clean run; and that run ends in the right bits.
#
# SYSCALLS_EVERY=N tries every N-th call only; the nightly programme has it at 1 for all errors.
set -eu

command -v strace > /dev/null || { echo "no strace"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
every=${SYSCALLS_EVERY:-1}
runs=0 failed=0 hurt=0

i=0
while [ $i -lt 200 ]; do
    echo "line $i: what the ratchet gained, the pawl keeps: $((i * i % 89))"
    i=$((i + 1))
done > text.txt

train() {
    "$PAWL" train mlp:4-5-3 --data npy:x.npy,y.npy --out "$1" --steps "$2" --save-every 2 \
        --batch 8 --seed 5 --keep latest=2 --threads 1 --json
}
npy() {
    head=$(printf "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" "$2" "$1")
    printf '\223NUMPY\001\000v\000%-117s\n' "$head"
}
{ npy '(64, 4)' '|u1'; head -c 256 text.txt; } > x.npy
{ npy '(64,)' '|u1'; head -c 64 /dev/zero | tr '\0' '\1'; } > y.npy

train base 4 > base.json
train whole 8 > whole.json

# How often a system call is made from the first touch of the run directory on is not known before;
# so: count all of its calls once.
cp -r base run
strace -f -qq -c -o counts "$PAWL" train mlp:4-5-3 --data npy:x.npy,y.npy --out run --steps 8 \
    --save-every 2 --batch 8 --seed 5 --keep latest=2 --threads 1 --json > events

durable() { # the last step that a stream of events calls durable, or 4: the base's
    awk -F '"step":' '
        /"event":"save"/ && /"state":"durable"/ { n = $2 + 0 }
        END { print n + 0 ? n : 4 }' "$1"
}

# inject CALL ERROR N
inject() {
    runs=$((runs + 1)) code=0
    rm -rf run
    cp -r base run
    strace -f -qq -o trace -e trace="$1" -e inject="$1:error=$2:when=$3" \
        "$PAWL" train mlp:4-5-3 --data npy:x.npy,y.npy --out run --steps 8 --save-every 2 \
        --batch 8 --seed 5 --keep latest=2 --threads 1 --json > events 2> errors || code=$?
    grep -q INJECTED trace || return 0
    hurt=$((hurt + 1))
    if [ $code -ge 128 ] || [ $code -eq 70 ] || [ $code -eq 1 ]; then
        echo "$1 $2 #$3: the run ended with $code"; cat errors; failed=$((failed + 1)); return 0
    fi
    if [ $code -ne 0 ] && [ $code -ne 127 ] && ! grep -q '^pawl: ' errors; then
        echo "$1 $2 #$3: exit $code without a word"; failed=$((failed + 1))
    fi
    promised=$(durable events)
    if ! train run 8 > again 2> errors; then
        echo "$1 $2 #$3: the clean run fails"; cat errors; failed=$((failed + 1)); return 0
    fi
    resumed=$(sed -n 's/.*"resumed_from":\([0-9]*\).*/\1/p' again | head -1)
    if [ "${resumed:-0}" -lt "$promised" ]; then
        echo "$1 $2 #$3: promised step $promised, resumed ${resumed:-nothing}"
        failed=$((failed + 1))
    fi
    if ! "$PAWL" diff whole run > difference; then
        echo "$1 $2 #$3: other bits"; head -3 difference; failed=$((failed + 1))
    fi
    if ! "$PAWL" verify run > difference 2>&1; then
        echo "$1 $2 #$3: does not verify"; cat difference; failed=$((failed + 1))
    fi
}

calls() { # how often a call was made
    awk -v call="$1" '$NF == call { print $4 }' counts
}

for pair in openat:EACCES openat:EMFILE pwrite64:ENOSPC pwrite64:EIO fdatasync:EIO fsync:EIO \
    fallocate:ENOSPC renameat2:EIO rename:EIO mkdir:ENOSPC mkdir:EROFS unlink:EIO rmdir:EIO \
    pread64:EIO newfstatat:EIO fstat:EIO getdents64:EIO close:EIO flock:EINTR flock:EAGAIN \
    statfs:EIO getrandom:EIO write:EIO; do
    call=${pair%:*} error=${pair#*:}
    count=$(calls $call)
    n=1
    while [ $n -le "${count:-0}" ]; do
        inject $call $error $n
        n=$((n + every))
    done
done

echo "$runs runs, $hurt with a failing call, $failed failed"
[ $failed -eq 0 ] && [ $hurt -gt 50 ]
