#!/bin/sh
# test: timeout=120
# The command itself: verbs, help, man page, completions, configuration, exit codes, doctor.
set -eu

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
failed=0 checks=0

# is CODE STDERR COMMAND...: the exit code, and all of stderr (nothing is asked of stdout).
is() {
    want=$1 words=$2
    shift 2
    checks=$((checks + 1)) code=0
    "$@" > out 2> err || code=$?
    if [ $code -ne "$want" ] || [ "$(cat err)" != "$words" ]; then
        echo "$*"
        echo "  exit $code, wanted $want; stderr:"
        cat err
        echo "  wanted: $words"
        failed=$((failed + 1))
    fi
}

# has WORDS: the last command's stdout holds them.
has() {
    checks=$((checks + 1))
    grep -qF -- "$1" out || { echo "no '$1' in:"; cat out; failed=$((failed + 1)); }
}

# ---- verbs and flags that are not there
is 64 "pawl: a verb is missing. try: pawl help" "$PAWL"
is 64 "pawl: unknown verb 'tran' (did you mean 'train'?). try: pawl help" "$PAWL" tran
is 64 "pawl: unknown verb 'xyzzy'. try: pawl help" "$PAWL" xyzzy
is 64 "pawl: unknown verb 'tran' (did you mean 'train'?). try: pawl help" "$PAWL" help tran
is 64 "pawl: this version trains in one process and has no launch. try: pawl train --help" \
    "$PAWL" launch -n 2 true
is 64 "pawl: train: unknown flag --stpes (did you mean '--steps'?). try: pawl train --help" \
    "$PAWL" train m --stpes 3
is 64 "pawl: verify has no flag --lr (train has). try: pawl verify --help" "$PAWL" verify x --lr 1
is 64 "pawl: ckpt: unknown flag -z. try: pawl ckpt --help" "$PAWL" ckpt ls x -yz
is 64 "pawl: diff needs A B. try: pawl diff --help" "$PAWL" diff a
is 64 "pawl: doctor: 'x' is one argument too many; it takes none. try: pawl doctor --help" \
    "$PAWL" doctor x

# ---- values
is 64 "pawl: train: --lr needs a value: F. try: --lr 3e-4" "$PAWL" train m --lr
is 64 "pawl: train: --lr: 'fast' is not a number. try: --lr 3e-4" "$PAWL" train m --lr fast
is 64 "pawl: train: --seq from PAWL_SEQ: '0' is below 1. try: --seq 256" \
    env PAWL_SEQ=0 "$PAWL" train m
printf 'steps = 10\nkeeep = latest=3\n' > bad.conf
is 64 "pawl: train: unknown flag in bad.conf:2: keeep (did you mean '--keep'?). try: pawl train \
--help" "$PAWL" train m --config bad.conf
is 66 "pawl: none.conf: cannot read the config file: No such file or directory" \
    "$PAWL" train m --config none.conf

# ---- configuration: what is printed reads back the same
is 0 "" env PAWL_BATCH=4 "$PAWL" train m --steps 10 --save-every 30m --meta 'a="x # y"' \
    --no-shuffle --print-config
has 'steps = 10  # command line'
has 'batch = 4  # PAWL_BATCH'
has 'save-every = 30m  # command line'
has 'meta = "a=\"x # y\""  # command line'
has 'shuffle = false  # command line'
has '# keep = latest=3  # not given'
cp out run.conf
is 0 "" "$PAWL" train m --config run.conf --print-config
sed 's/  # .*//' out > second
sed 's/  # .*//' run.conf > first
checks=$((checks + 1))
cmp first second || failed=$((failed + 1))
is 0 "" "$PAWL" train m --config run.conf --json --print-config
has '"from": "run.conf:'

# ---- help, man page, completions: every flag of the table is in each
is 0 "" "$PAWL" help
cp out overall
sed -n '/<!-- pawl help -->/,/<!-- end -->/p' "$PAWL_SOURCE/docs/cli.md" | sed '1,2d' |
    sed '/^```$/,$d' > documented
checks=$((checks + 1))
cmp overall documented || failed=$((failed + 1))
is 0 "" "$PAWL" --help
checks=$((checks + 1))
cmp overall out || failed=$((failed + 1))
is 0 "" "$PAWL" help --man
cp out man
for verb in train predict generate inspect convert diff verify ckpt bench doctor help; do
    is 0 "" "$PAWL" help $verb
    has "usage: pawl $verb"
    cp out page
    is 0 "" "$PAWL" $verb --help
    checks=$((checks + 1))
    cmp page out || failed=$((failed + 1))
    checks=$((checks + 1))
    if [ "$(wc -L < page)" -gt 100 ]; then
        echo "$verb --help is too wide"
        failed=$((failed + 1))
    fi
    checks=$((checks + 1))
    grep -q "pawl $verb " overall || { echo "no $verb in the help"; failed=$((failed + 1)); }
    sed -n '/ = --/!s/^  \(-.,\)\{0,1\} *--\(\[no-\]\)\{0,1\}\([a-z-]*\).*/\3/p' page > flags
    while read -r flag; do
        checks=$((checks + 1))
        name=$(echo "$flag" | sed 's/-/\\\\-/g')
        grep -q -- "$name" man || { echo "no --$flag in the man page"; failed=$((failed + 1)); }
        for shell in bash zsh fish; do
            "$PAWL" help --completions $shell > script
            case $shell in fish) word="-l $flag" ;; *) word="--$flag" ;; esac
            grep -qF -- "$word" script || { echo "no $flag for $shell"; failed=$((failed + 1)); }
        done
    done < flags
done
has_man() { grep -qF -- "$1" man || { echo "no $1 in the man page"; failed=$((failed + 1)); }; }
has_man 'save\-total\-limit'
is 0 "" "$PAWL" help --completions bash
cp out completion.bash
# shellcheck disable=SC2016 # for the inner shell
is 0 "" bash -c '. ./completion.bash; COMP_WORDS=(pawl train --save-m) COMP_CWORD=2; _pawl
    echo "${COMPREPLY[@]}"; COMP_WORDS=(pawl train --save-mode "") COMP_CWORD=3; _pawl
    echo "${COMPREPLY[@]}"; COMP_WORDS=(pawl d) COMP_CWORD=1; _pawl; echo "${COMPREPLY[@]}"'
has '--save-mode'
has 'async sync off'
has 'diff doctor'
if command -v man > man-output && man --version > man-output 2>&1; then
    is 0 "" man --warnings -l man
fi

# ---- output that cannot be written
# shellcheck disable=SC2016
is 74 "pawl: standard output: cannot write" sh -c '"$PAWL" help > /dev/full'

# ---- doctor
is 0 "" "$PAWL" doctor --dir .
has "cpu "
has "O_DIRECT"
is 0 "" env PAWL_THREADS=1 RANK=1 WORLD_SIZE=4 TORCHELASTIC_RUN_ID=x "$PAWL" doctor --json
has '"launcher":{"kind":"torchrun","rank":1,"ranks":4}'
has '"threads":1'
is 0 "" env OMPI_COMM_WORLD_RANK=2 OMPI_COMM_WORLD_SIZE=3 "$PAWL" doctor --json
has '"launcher":{"kind":"open-mpi","rank":2,"ranks":3}'
is 0 "" env SLURM_PROCID=0 SLURM_NTASKS=8 "$PAWL" doctor --json
has '"launcher":{"kind":"slurm","rank":0,"ranks":8}'
is 66 "pawl: none: No such file or directory. try: mkdir -p none" "$PAWL" doctor --dir none
checks=$((checks + 1))
for left in .pawl-doctor*; do
    if [ -e "$left" ]; then echo "doctor left $left"; failed=$((failed + 1)); fi
done

echo "$checks checks, $failed failed"
[ $failed -eq 0 ]
