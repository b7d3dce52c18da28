#!/bin/sh
# test: once
# shellcheck disable=SC2016 # the $ are the stubs' own
# go: what ./go does about missing packages, with apt-get, sudo and cmake replaced by recorders.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/pawl"
cp "$PAWL_SOURCE/go" "$work/pawl/"
: >"$work/log"

# stub NAME BODY: a command that notes how it was called and then does BODY.
stub() {
    printf '#!/bin/sh\necho "%s $*" >>"%s/log"\n%s\n' "$1" "$work" "$2" >"$work/bin/$1"
    chmod +x "$work/bin/$1"
}

# expect CODE WORDS: the last run's exit code, and words that its output or the record has.
expect() {
    if [ "$rc" != "$1" ] || ! grep -qF -- "$2" "$work/out" "$work/log"; then
        echo "go: $when: exit $rc instead of $1, or no word of: $2"
        cat "$work/out" "$work/log"
        exit 1
    fi
}

run() {
    when=$1
    : >"$work/log"
    rc=0
    PATH=$work/bin:$PATH "$work/pawl/go" build </dev/null >"$work/out" 2>&1 || rc=$?
}

stub cmake ''
stub apt-get ''
stub dpkg-query 'echo "install ok installed"'
stub id 'echo 1000'
stub sudo 'exit 1'
run "all is there"
expect 0 "built ./build/pawl"
! grep -qE '^(apt-get|sudo)' "$work/log" || { echo "go: asked apt-get for nothing"; exit 1; }

stub dpkg-query 'case $3 in cmake) exit 1;; libisal-dev) echo "deinstall ok config-files";;
*) echo "install ok installed";; esac'
line="apt-get install -y --no-install-recommends cmake libisal-dev"
run "missing, no sudo"
expect 69 "$line"
! grep -q '^apt-get' "$work/log" || { echo "go: called apt-get without the right to"; exit 1; }

stub sudo '[ "$1" != -n ] || shift; exec "$@"'
run "missing, sudo asks no password"
expect 0 "$line"
expect 0 "sudo -n apt-get update"

stub id 'echo 0'
stub sudo 'exit 1'
run "missing, root"
expect 0 "$line"

stub apt-get 'exit 100'
run "apt-get fails"
expect 69 "$line"

rc=0 when="unknown command"
"$work/pawl/go" biuld >"$work/out" 2>&1 || rc=$?
expect 64 "usage: ./go COMMAND"
echo "7 cases"
