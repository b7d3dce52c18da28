#!/bin/sh
# test: once timeout=120
# layers: includes between rooms go one way, kernels <- checkpoint <- runtime <- bench, tests,
# examples, and never in a circle between files. First shows on broken trees that it can fail.
set -eu

# shellcheck disable=SC2016 # the $ are awk's
# edges ROOT: a line "FILE INCLUDED" for each #include "..." that names a file of the project.
edges() {
    (
        cd "$1"
        find kernels checkpoint runtime bench tests examples 2>/dev/null |
            grep -E '\.(c|h|cc|cu|cuh)$' | sort | xargs awk '
            match($0, /^[ \t]*#[ \t]*include[ \t]*"[^"]+"/) {
                name = substr($0, RSTART, RLENGTH); gsub(/^[^"]*"|"$/, "", name)
                dir = FILENAME; sub(/[^\/]*$/, "", dir)
                beside = (getline line < (dir name)) >= 0; close(dir name)
                print FILENAME, beside ? dir name : name
            }'
    )
}

check() {
    edges "$1" >"$work/edges"
    awk '
        BEGIN { rank["kernels"] = 1; rank["checkpoint"] = 2; rank["runtime"] = 3
                rank["bench"] = rank["tests"] = rank["examples"] = 4 }
        { split($1, from, "/"); split($2, to, "/") }
        !(to[1] in rank) { print $1 ": includes " $2 ", which is in no room"; bad = 1; next }
        rank[from[1]] < rank[to[1]] { print $1 ": " from[1] " may not include " $2; bad = 1 }
        rank[from[1]] == 4 && rank[to[1]] == 4 && from[1] != to[1] {
            print $1 ": " from[1] " may not include " $2; bad = 1 }
        $1 == $2 { print $1 ": includes itself"; bad = 1 }
        END { exit bad }' "$work/edges" || return 1
    if ! tsort "$work/edges" >/dev/null 2>"$work/loop"; then
        echo "these files include each other in a circle:"
        cat "$work/loop"
        return 1
    fi
}

# must_fail WHAT FILE TEXT: a sound tree but for TEXT in FILE; FILE is empty for a sound one.
must_fail() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/kernels" "$work/tree/checkpoint"
    echo '#include "kernels/b.h"' >"$work/tree/kernels/a.h"
    echo '#include "kernels/a.h"' >"$work/tree/checkpoint/c.h"
    : >"$work/tree/kernels/b.h"
    if [ -z "$2" ]; then
        check "$work/tree" || { echo "layers: a sound tree is refused"; exit 1; }
        return
    fi
    echo "$3" >"$work/tree/$2"
    if check "$work/tree" >/dev/null; then
        echo "layers: did not notice $1"
        exit 1
    fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
must_fail nothing "" ""
must_fail "an arrow upwards" kernels/b.h '#include "checkpoint/c.h"'
must_fail "a circle" kernels/b.h '#include "kernels/a.h"'
must_fail "a file of no room" kernels/b.h '#include "nowhere/c.h"'
check "${1:-$PAWL_SOURCE}"
echo "$(wc -l <"$work/edges") includes, all downwards, no circle"
