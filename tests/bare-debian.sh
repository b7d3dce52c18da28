#!/bin/sh
# test: off
# bare-debian: what a newcomer sees. Makes a Debian 12 with nothing but its base in a temporary
# directory, clones this repository into it (what is committed, nothing else) and runs ./go there.
# Needs root, debootstrap and git; takes its packages from where this machine takes them.
#
#     tests/bare-debian.sh [COMMAND...]     default: build test demo; `demo --fast` is one command
#     BARE_DIR=DIR  where to make it (default: under TMPDIR); it is removed at the end
set -eu

[ "$(id -u)" = 0 ] || { echo "bare-debian: needs root, for chroot and mount" >&2; exit 77; }
source=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d "${BARE_DIR:-${TMPDIR:-/tmp}}/bare-debian.XXXXXX")
chmod 755 "$root"

leave() {
    for point in dev/shm dev/pts dev proc; do
        ! mountpoint -q "$root/$point" || umount "$root/$point"
    done
    # --one-file-system: should an umount have failed, the machine's own /dev stays.
    rm -rf --one-file-system "$root"
}
trap leave EXIT
trap 'exit 130' INT TERM

# shellcheck disable=SC2016 # the $ are apt's and awk's
uri=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "bookworm" { print $2; exit }')
[ -n "$uri" ] || { echo "bare-debian: apt has no bookworm here" >&2; exit 69; }

debootstrap --variant=minbase bookworm "$root" "$uri" >"$root.log" 2>&1 || {
    tail -20 "$root.log" >&2
    exit 69
}
rm -f "$root.log"
rm -rf "$root"/etc/apt/sources.list* "$root"/var/lib/apt/lists/*
cp -a /etc/apt/sources.list* "$root/etc/apt/"
apt-config dump Acquire >"$root/etc/apt/apt.conf"
for file in /etc/resolv.conf /etc/hosts; do
    [ ! -f "$file" ] || cp -L "$file" "$root$file"
done
for key in /usr/share/keyrings /etc/apt/trusted.gpg.d /usr/local/share/ca-certificates; do
    [ ! -d "$key" ] || { mkdir -p "$root$key" && cp -a "$key/." "$root$key/"; }
done
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
git clone -q "$source" "$root/root/pawl"

[ $# -gt 0 ] || set -- build test demo
for command; do
    begin=$(date +%s)
    printf '\n==== bare Debian: ./go %s\n' "$command"
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-dumb}" \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        sh -c "cd /root/pawl && ./go $command" || exit 1
    printf '==== bare Debian: ./go %s took %d s\n' "$command" $(($(date +%s) - begin))
done
printf '\nbare Debian: %s passed\n' "$*"
