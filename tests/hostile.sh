#!/bin/sh
# hostile: broken and hostile files, each with what pawl owes it. tests/data/bad/EXPECT.tsv has a
# row per file: FILE, COMMAND (verify, convert, input), EXIT CODES (65|66), WORDS, why. Every group
# of the words (apart by commas, - none) must be in the message, as an extended regular expression.
# At most three lines, one second and 64 MiB; nothing is left behind.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=$PAWL_SOURCE/tests/data/bad
model=$PAWL_SOURCE/tests/data/savedmodel/adam
seconds=1
mebibytes=64
if [ -n "${PAWL_SANITIZE:-}" ]; then
    seconds=30
    mebibytes=1000000
fi
tab=$(printf '\t')

ask() {
    case $2 in
    verify) set -- verify "$bad/$1" ;;
    convert) set -- convert "$bad/$1" out.npz --to npz ;;
    input) set -- predict "$model" --input "$bad/$1" --output y.npy ;;
    esac
    rm -rf "$work/run"
    mkdir "$work/run"
    cd "$work/run"
    "$PAWL_TESTS/checkpoint-measure" "$seconds" "$mebibytes" "$PAWL" "$@" \
        >/dev/null 2>"$work/said"
}

# What is wrong with the answer to a row; nothing when all is right.
judge() { # FILE CODES CODE WORDS
    if ! echo "|$2|" | grep -q "|$3|"; then
        echo "exit $3, expected $2"
    fi
    if [ "$3" != 0 ]; then
        [ "$(wc -l <"$work/said")" -le 3 ] || echo "more than three lines"
        [ -z "$(ls -A "$work/run")" ] || echo "left something behind"
    fi
    # The file's own name must not count as the words.
    sed "s|$bad||g; s|$1||g" "$work/said" | tr 'A-Z' 'a-z' >"$work/lower"
    echo "$4" | tr 'A-Z' 'a-z' | tr ',' '\n' | while read -r group; do
        [ "$group" = - ] || grep -qE -- "$group" "$work/lower" || echo "lacks /$group/"
    done
}

# The judge must notice what is wrong.
mkdir "$work/run"
echo "pawl: x: truncated" >"$work/said"
[ -z "$(judge x 65 65 truncated)" ] && [ -n "$(judge x 65 0 truncated)" ] \
    && [ -n "$(judge x 65 65 checksum)" ] || { echo "hostile: the judge sleeps"; exit 1; }

rows=0
wrong=0
while IFS="$tab" read -r file command codes words why; do
    rows=$((rows + 1))
    code=0
    (ask "$file" "$command") || code=$?
    judge "$file" "$codes" "$code" "$words" >"$work/why"
    [ -s "$work/why" ] || continue
    wrong=$((wrong + 1))
    echo "$file ($why): $(tr '\n' ' ' <"$work/why")-- $(head -c 300 "$work/said")"
done <"$bad/EXPECT.tsv"
echo "hostile: $((rows - wrong)) of $rows right"
[ "$wrong" = 0 ]
