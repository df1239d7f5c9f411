#!/bin/sh
# Installs a released `rescored`: checks its SHA-256 before anything is put in place.
#
#   install.sh [--version X.Y.Z] [--to DIR] [--from URL]
#
# --version  the release (default: the one that this script came with)
# --to       folder of the program (default: /usr/local/bin if it may be written, else ~/.local/bin)
# --from     address of a mirror of the releases, or file:///DIR
set -eu

# The workflow of releases puts both in; a checkout has neither.
version="@VERSION@"
from="@RELEASES@"
to=

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
    --version | --to | --from) [ $# -ge 2 ] || fail "$1 needs a value" ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "$1: no such flag; --help lists them" ;;
    esac
    case "$1" in
    --version) version=${2#v} ;;
    --to) to=$2 ;;
    --from) from=${2%/} ;;
    esac
    shift 2
done
case "$version$from" in *@*@*) fail "this copy is of no release: name --version and --from" ;; esac
case "$from" in https://* | file://*) ;; *) fail "--from: $from is neither https:// nor file://" ;; esac

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) target=x86_64-unknown-linux-gnu ;;
Linux-aarch64 | Linux-arm64) target=aarch64-unknown-linux-gnu ;;
Darwin-arm64) target=aarch64-apple-darwin ;;
*) fail "no release for $(uname -s) on $(uname -m): build it with cargo, see README.md" ;;
esac
if [ "${target##*-}" = gnu ]; then
    # Releases are built on a system with this C library; musl (Alpine) is another one.
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || fail "no glibc here: build it with cargo, see README.md"
    libc=${libc#glibc }
    [ "${libc%%.*}" -gt 2 ] || [ "${libc#*.}" -ge 35 ] || fail "glibc $libc is too old, 2.35 or later is needed"
fi
command -v curl >/dev/null || fail "curl is missing"
if command -v sha256sum >/dev/null; then check="sha256sum"; elif command -v shasum >/dev/null; then check="shasum -a 256"; else
    fail "neither sha256sum nor shasum is here, and unchecked files are not installed"
fi
if [ -z "$to" ]; then
    to=/usr/local/bin
    [ -w "$to" ] || to=$HOME/.local/bin
fi

archive=rescored-$version-$target.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
get() {
    curl --proto '=https,file' --proto-redir '=https' --tlsv1.2 --fail --silent --show-error --location --retry 3 \
        --output "$work/$1" "$from/v$version/$1" || fail "$from/v$version/$1 cannot be had"
}
get SHA256SUMS
get "$archive"
wanted=$(awk -v name="$archive" '$2 == name { print $1 }' "$work/SHA256SUMS")
[ -n "$wanted" ] || fail "SHA256SUMS has no line for $archive"
found=$($check "$work/$archive")
[ "$wanted" = "${found%% *}" ] || fail "$archive: its SHA-256 is ${found%% *}, SHA256SUMS says $wanted; nothing was installed"

tar -xzf "$work/$archive" -C "$work"
mkdir -p "$to"
# In place at once, also while another copy runs.
install -m 755 "$work/${archive%.tar.gz}/rescored" "$to/.rescored.$$"
mv -f "$to/.rescored.$$" "$to/rescored"
echo "$to/rescored: $("$to/rescored" --version)"
case ":$PATH:" in *":$to:"*) ;; *) echo "$to is not on PATH" ;; esac
echo "next: rescored fetch && rescored compile && rescored serve (fetch needs python3 with pip)"
