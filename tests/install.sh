#!/bin/sh
# test: once timeout=120
# install: what `cmake --install` leaves is enough to build and run a foreign program, shows pawl_*
# names only, and shows each function that an installed header promises with PAWL_API.
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$PAWL_BUILD" --prefix "$work/usr" >/dev/null
library=$(find "$work/usr" -name libpawl.so)

nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
    sort >"$work/shown"
if grep -v '^pawl_' "$work/shown"; then
    echo "install: these names are none of ours to show"
    exit 1
fi
find "$work/usr/include" -name '*.h' -exec sed 's/\/\/.*//' {} + | tr '\n' ' ' |
    sed 's/PAWL_API /\n&/g' | sed -nE 's/^PAWL_API [^(;]*(pawl_[a-z0-9_]+)\(.*/\1/p' |
    sort -u >"$work/promised"
[ -s "$work/promised" ]
if comm -13 "$work/shown" "$work/promised" | grep .; then
    echo "install: these are promised by a header and not in the library"
    exit 1
fi

(cd "$PAWL_SOURCE" && grep -rl --include='*.h' '^PAWL_API' kernels checkpoint runtime) |
    sort >"$work/public"
(cd "$work/usr/include/pawl" && find . -name '*.h') | sed 's/^\.\///' | sort >"$work/installed"
if comm -23 "$work/public" "$work/installed" | grep .; then
    echo "install: these carry PAWL_API and are not installed"
    exit 1
fi

# Built and run as its first lines say, from what was installed alone; the second run goes on.
PKG_CONFIG_PATH=$(dirname "$(find "$work/usr" -name pawl.pc)")
LD_LIBRARY_PATH=$(dirname "$library")
export PKG_CONFIG_PATH LD_LIBRARY_PATH
cd "$work"
sed 's/.*/#include "&"/' installed | cat - "$PAWL_SOURCE/examples/foreign.c" >foreign.c
# shellcheck disable=SC2046 # a list of words
${CC:-cc} -Wall -Werror foreign.c $(pkg-config --cflags --libs pawl) -o foreign
./foreign run 300 | tee first
./foreign run 500 | tee second
grep -q "^starts at step 0" first
grep -q "^goes on at step 300" second
"$work/usr/bin/pawl" help >/dev/null
echo "$(wc -l <shown) names shown, $(wc -l <promised) of them promised by headers"
