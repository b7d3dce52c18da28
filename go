#!/bin/sh
# go: everything a newcomer types. See `./go help`.
set -eu
cd "$(dirname "$0")"

BUILD_PACKAGES="build-essential cmake ninja-build pkg-config zlib1g-dev libjansson-dev libisal-dev
 liburing-dev"
TEST_PACKAGES="libcriterion-dev strace"
NIGHTLY_PACKAGES="e2fsprogs xfsprogs btrfs-progs fuse3 qemu-system-common nbdkit nbdfuse"
DEMO_PACKAGES="dataset-fashion-mnist"

help() {
    cat <<END
usage: ./go COMMAND

  demo             build pawl, then watch it train, be killed and resume bit for bit
  test             build everything and run the tests that guard each change
  test --nightly   these and the long ones, whose figures it prints; any other argument goes to
                   ctest
  test --interop   only what holds pawl against files of PyTorch, Keras, TensorFlow and Hugging Face
  build            build ./build/pawl and ./build/libpawl.so

What is missing is installed with apt-get, as root or through sudo; after that no command here
needs a network.
END
}

# Prints those of the packages named that dpkg does not have.
missing() {
    for package; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
        *" installed") ;;
        *) printf ' %s' "$package" ;;
        esac
    done
}

# The way to become root, in words to put before a command; fails when there is none.
root_words() {
    if [ "$(id -u)" = 0 ]; then
        echo env
    elif sudo -n true 2>/dev/null; then
        echo sudo -n
    elif [ -t 0 ] && [ -t 2 ] && command -v sudo >/dev/null; then
        echo sudo
    else
        return 1
    fi
}

install() {
    if ! command -v dpkg-query >/dev/null; then
        echo "go: no dpkg here, so nothing is installed. pawl needs what Debian calls: $*" >&2
        return 0
    fi
    wanted=$(missing "$@")
    [ -n "$wanted" ] || return 0
    line="apt-get install -y --no-install-recommends$wanted"
    if ! root=$(root_words); then
        echo "go: these packages are missing and this user cannot install them. As root, run:" >&2
        echo "    apt-get update && $line" >&2
        exit 69
    fi
    echo "go: installing$wanted (a minute or so)"
    # shellcheck disable=SC2086 # both are lists of words
    if ! { $root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive $line -qq; } \
        >/dev/null; then
        echo "go: apt-get failed (its words are above). When it can work, run as root:" >&2
        echo "    apt-get update && $line" >&2
        exit 69
    fi
}

# build TESTS TARGET...: configures where needed, then builds the targets named.
build() {
    # CI=true, as continuous integration sets it, makes each warning an error.
    werror=OFF
    [ "${CI:-}" != true ] || werror=ON
    # There, nvcc compiles for one architecture: that finds what does not compile, in a sixth of the
    # time. The nightly build has them all.
    architecture=
    if [ "${CI:-}" = true ] && [ "${nightly:-}" = "" ]; then
        architecture=-DPAWL_CUDA_ARCH=90a
    elif [ "${CI:-}" = true ]; then
        architecture=-DPAWL_CUDA_ARCH=
    fi
    # shellcheck disable=SC2086 # a word or none
    cmake --preset default -DPAWL_TESTS="$1" -DPAWL_WERROR=$werror $architecture >/dev/null
    shift
    cmake --build build --target "$@" >&2
}

run_tests() {
    preset=default
    if [ "${1:-}" = --nightly ]; then
        preset=nightly
        shift
    elif [ "${1:-}" = --interop ]; then
        shift
        set -- -V -R '^runtime-interop$' "$@"
    fi
    code=0
    ctest --preset "$preset" --parallel "$(nproc)" "$@" || code=$?
    [ $preset = default ] || cat build/nightly.txt || code=1
    exit $code
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
build)
    # shellcheck disable=SC2086 # a list of words
    install $BUILD_PACKAGES
    build OFF pawl libpawl
    echo "built ./build/pawl and ./build/libpawl.so"
    ;;
demo)
    # shellcheck disable=SC2086
    install $BUILD_PACKAGES $DEMO_PACKAGES
    build OFF pawl
    PAWL=$PWD/build/pawl exec sh examples/demo.sh "$@"
    ;;
test)
    # shellcheck disable=SC2086
    install $BUILD_PACKAGES $TEST_PACKAGES $DEMO_PACKAGES
    # Rows that lack one of these say so and are skipped.
    # shellcheck disable=SC2086
    if [ "${1:-}" = --nightly ] && root_words >/dev/null; then install $NIGHTLY_PACKAGES; fi
    nightly=
    [ "${1:-}" != --nightly ] || nightly=yes
    build ON all
    run_tests "$@"
    ;;
help | -h | --help)
    help
    ;;
*)
    echo "go: unknown command '$command'" >&2
    help >&2
    exit 64
    ;;
esac
