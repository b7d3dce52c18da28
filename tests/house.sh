#!/bin/sh
# test: once
# house: the rules of style that a machine can check. Files <= 500 lines, functions <= 60 lines with
# <= 6 parameters and <= 3 indents (outside kernels), lines <= 100, few #if, no TODO in a header.
set -eu

# A breach that is right where it stands: "FILE RULE reason".
allowed() {
    cat <<'END'
kernels/host/vec.h conditionals one for each instruction set
kernels/host/value.h conditionals one for each instruction set, and for the type
runtime/infer.c parameters out, rows and cols are one answer; seed, temperature and limit one draw
END
}

breaches() {
    (
        cd "$1"
        find kernels checkpoint runtime bench tests examples 2>/dev/null |
            grep -E '\.(c|h|cc|cu|cuh)$' | sort >"$work/files"
        xargs awk -f "$rules" <"$work/files"
        find tests examples -name '*.sh' >>"$work/files" 2>/dev/null || true
        ls go .ci/run >>"$work/files" 2>/dev/null || true
        LC_ALL=C.UTF-8 xargs grep -HnE '^.{101,}' <"$work/files" |
            sed -E 's/^([^:]*):([0-9]+):.*/\1 line \2 is longer than 100/'
    )
}

# must_find RULE LINES...: the lines, as a file of C, of C++ or of CUDA C, break the rule.
must_find() {
    rule=$1
    shift
    for file in x.h x.cc x.cu; do
        [ "$rule" != todo ] || file=x.h
        rm -rf "$work/tree"
        mkdir -p "$work/tree/runtime"
        printf '%s\n' "$@" >"$work/tree/runtime/$file"
        if ! breaches "$work/tree" | grep -q "^runtime/$file $rule "; then
            echo "house: did not notice a breach of '$rule' in $file"
            exit 1
        fi
    done
}

rules=$(dirname "$0")
rules=$(cd "$rules" && pwd)/house.awk
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046,SC2183 # many words are meant
{
    must_find file $(seq 501)
    must_find function 'int f(void)' '{' $(seq 58) '}'
    must_find parameters 'int f(int a, int b, int c,' '      int d, int e, int f, int g)' '{' '}'
    must_find indents 'int f(void)' '{' '                    return 1;' '}'
    must_find line "$(printf '%0101d' 0)"
    must_find conditionals '#if A' '#if B' '#if C'
    must_find todo '// TODO'
}

breaches "${1:-$PAWL_SOURCE}" >"$work/found"
allowed | while read -r file rule reason; do
    # An exception that nothing needs any more must go.
    grep -q "^$file $rule " "$work/found" || echo "$file allowed $rule needs no exception ($reason)"
    sed -i "\|^$file $rule |d" "$work/found"
done >"$work/stale"
cat "$work/found" "$work/stale"
echo "$(wc -l <"$work/files") files, $(cat "$work/found" "$work/stale" | wc -l) breaches"
[ ! -s "$work/found" ] && [ ! -s "$work/stale" ]
