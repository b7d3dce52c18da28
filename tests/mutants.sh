#!/bin/sh
# test: once timeout=600
# The mutants of tests/mutants.list: each check left out, each two steps exchanged, one at a time.
# Makes the changed file in a scratch directory, compiles it as the build does, links it into the
# tests that should notice, and runs them. Every eighth mutant; `sh tests/mutants.sh all`, or words
# of their names.
set -u

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
list=$PAWL_SOURCE/tests/mutants.list
every=8 wanted=
case ${1:-} in
all) every=1 ;;
?*) every=1 wanted=$1 ;;
esac
cd "$PAWL_BUILD" || exit 1
caught=0 tried=0 number=0 failed=

# The commands of the build, once.
ninja -t commands all > "$dir/commands" 2>/dev/null ||
    { echo "no ninja in this build: not tested"; exit 77; }

# change FILE OLD NEW: the one place of OLD becomes NEW, in the scratch copy of FILE.
change() {
    awk -v old="$2" -v new="$3" '
        BEGIN { OLD = "" }
        { text = text $0 "\n" }
        END {
            at = index(text, old)
            if (!at || index(substr(text, at + 1), old)) exit 1
            printf "%s%s%s", substr(text, 1, at - 1), new, substr(text, at + length(old))
        }' "$1" > "$1.new" && mv "$1.new" "$1"
}

# compile FILE: its object, as the library was built.
compile() {
    command=$(grep -m 1 -- "-o CMakeFiles/pawl-core.dir/$1.o -c " "$dir/commands") || return 1
    object=$dir/$(echo "$1" | tr / _).o
    $(echo "$command" | sed "s| -MD -MT [^ ]* -MF [^ ]*||; s| -O2 -g | -O1 -w |
        s| -o [^ ]* -c .*| -o $object -c $dir/source/$1|") 2> "$dir/words" || return 1
    objects="$objects $object"
}

# notices PROGRAM ARGUMENTS...: whether that test fails with the objects in place.
notices() {
    program=$dir/$1
    command=$(grep -m 1 -- " -o tests/checkpoint-$1 " "$dir/commands" |
        sed "s|^: && ||; s| && :\$||; s| -g | -s |
            s| -o tests/checkpoint-$1 |$objects -o $program |")
    [ -n "$command" ] || { echo "no test is called $1"; return 2; }
    [ -e "$program" ] || $command 2> "$dir/words" || { cat "$dir/words"; return 2; }
    shift
    case ${1:-} in
    */*) set -- --jobs 1 --filter "$1" ;;
    esac
    timeout 240 "$program" "$@" > "$dir/out" 2>&1
    code=$?
    # A filter that finds nothing passes everything.
    ! grep -q 'Tested: 0 ' "$dir/out" || { echo "$* finds no test"; return 2; }
    [ $code -ne 0 ]
}

# The mutant that was read: does a test of it fail?
try() {
    [ -n "$words" ] || return 0
    case $words in
    'nothing '*) [ -z "$wanted" ] || return 0 ;;
    *"$wanted"*)
        number=$((number + 1))
        [ $((number % every)) -eq 0 ] || return 0
        tried=$((tried + 1)) ;;
    *) return 0 ;;
    esac
    objects=
    for file in $(cat "$dir/files"); do
        compile "$file" || broken=1
    done
    if [ -n "$broken" ]; then
        echo "$words: DOES NOT APPLY"
        [ ! -s "$dir/words" ] || head -n 5 "$dir/words"
        return 0
    fi
    verdict="NOT NOTICED"
    IFS=';'
    for test in $tests; do
        unset IFS
        set -f
        # shellcheck disable=SC2086 # words
        set -- $test
        set +f
        notices "$@"
        case $? in
        0) verdict="$1" && break ;;
        2) verdict="NOT TESTED" && break ;;
        esac
    done
    unset IFS
    case "$words: $verdict" in
    'nothing '*': NOT NOTICED') verdict="not noticed, as it should be" ;;
    'nothing '*) failed=1 ;;
    *': NOT '*) ;;
    *) caught=$((caught + 1)) ;;
    esac
    printf '%-52s %s\n' "$words" "$verdict"
}

# One block of - and + lines is complete.
apply() {
    [ -n "$old" ] || return 0
    [ -e "$dir/source/$file" ] || {
        mkdir -p "$dir/source/${file%/*}"
        cp "$PAWL_SOURCE/$file" "$dir/source/$file"
        echo "$file" >> "$dir/files"
    }
    change "$dir/source/$file" "$old" "$new" || broken=1
    old='' new=''
}

clear_all() {
    rm -rf "$dir/source" "$dir/files" "$dir/words"
    find "$dir" -type f ! -name commands -exec rm -f {} +
    broken='' old='' new='' file=''
}

words='' newline='
'
clear_all
while IFS= read -r line; do
    case $line in
    '#'*) ;;
    '== '*)
        try
        clear_all
        line=${line#== }
        words=${line%% | *} tests=${line#* | } ;;
    '@ '*) apply; file=${line#@ } ;;
    '- '*) old="$old${old:+$newline}${line#- }" ;;
    '+ '*) new="$new${new:+$newline}${line#+ }" ;;
    '') apply ;;
    esac
done < "$list"
apply
try

echo "mutants caught: $caught of $tried"
[ $tried -gt 0 ] && [ $caught -eq $tried ] && [ -z "$failed" ]
