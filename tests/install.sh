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
find "$work/usr/include" -name '*.h' -exec cat {} + | sed 's/\/\/.*//' | tr '\n' ' ' | sed 's/PAWL_API /\n&/g' |
    sed -nE 's/^PAWL_API [^(;]*(pawl_[a-z0-9_]+)\(.*/\1/p' | sort -u >"$work/promised"
[ -s "$work/promised" ]
if comm -13 "$work/shown" "$work/promised" | grep .; then
    echo "install: these are promised by a header and not in the library"
    exit 1
fi

(cd "$PAWL_SOURCE" && grep -rl --include='*.h' '^PAWL_API' kernels checkpoint runtime) | sort >"$work/public"
(cd "$work/usr/include/pawl" && find . -name '*.h') | sed 's/^\.\///' | sort >"$work/installed"
if comm -23 "$work/public" "$work/installed" | grep .; then
    echo "install: these carry PAWL_API and are not installed"
    exit 1
fi
sed 's/.*/#include "&"/' "$work/installed" >"$work/main.c"
cat >>"$work/main.c" <<'END'
#include <stdio.h>
#include <string.h>
int main(void)
{
    struct pawl_device *device;

    if (pawl_device_open(&device, "no such device", 1) == 0)
        return 1;
    if (strstr(pawl_error(), "no such device") == NULL)
        return 2;
    if (pawl_device_open(&device, "host", 1))
        return 3;
    pawl_device_close(device);
    return 0;
}
END
PKG_CONFIG_PATH=$(dirname "$(find "$work/usr" -name pawl.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046 # a list of words
${CC:-cc} -std=c17 -Wall -Werror "$work/main.c" -o "$work/main" $(pkg-config --cflags --libs pawl)
LD_LIBRARY_PATH=$(dirname "$library") "$work/main"
[ -x "$work/usr/bin/pawl" ]
echo "$(wc -l <"$work/shown") names shown, $(wc -l <"$work/promised") of them promised by headers"
