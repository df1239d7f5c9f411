#!/bin/sh
# From an empty Debian to an answer, with a released program and no toolchain, each step timed: from-debian.sh DIST
#
# DIST is a folder that docker/release/assemble.sh has completed (vX.Y.Z below it is what install.sh asks for). It needs root,
# mmdebstrap and a network; everything happens in a root of its own below a temporary folder, in mount and process namespaces,
# and no service of that root is started. Not part of `make test-manifests`: it downloads a Debian, ONNX Runtime and the model.
set -eu
[ $# -eq 1 ] || { echo "usage: from-debian.sh DIST" >&2; exit 2; }
dist=$(CDPATH='' cd -- "$1" && pwd)
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
port=8799
trap 'exit 130' INT TERM
begun=$(date +%s)
lap() {
    now=$(date +%s)
    echo "$((now - begun)) s: $1"
    begun=$now
}

# What README.md asks of a host: Python with pip; curl and certificates to download.
if [ -n "${ROOT_TAR:-}" ]; then
    mkdir "$root" && tar -xf "$ROOT_TAR" -C "$root" --exclude='./dev/*'
else
    mmdebstrap --quiet --variant=minbase --include=python3-pip,ca-certificates,curl bookworm "$root"
fi
lap "a Debian with pip and curl"
mkdir -p "$root/dist" "$root/srv/rescored"
cp -R "$dist/." "$root/dist/"
cp "$here/../../docker/release/ask.sh" "$root/srv/ask.sh"
cp /etc/resolv.conf "$root/etc/resolv.conf"
# This host's own authorities and pip's settings, where a proxy or a mirror needs them.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
for file in /etc/pip.conf "$HOME/.config/pip/pip.conf"; do [ ! -e "$file" ] || cp "$file" "$root/etc/pip.conf"; done

inside() {
    # shellcheck disable=SC2016  # Expanded inside.
    unshare --mount --pid --fork --kill-child -- sh -c '
        set -e; root=$1; shift
        mount --bind "$root" "$root"; mount -t proc proc "$root/proc"; mount -t tmpfs tmpfs "$root/dev"
        for one in null zero random urandom; do touch "$root/dev/$one"; mount --bind "/dev/$one" "$root/dev/$one"; done
        exec chroot "$root" "$@"' sh "$root" "$@"
}
! inside sh -c 'command -v cc cargo rustc make' || { echo "from-debian.sh: there is a toolchain" >&2; exit 1; }
inside sh -c '/dist/v*/install.sh --from file:///dist'
lap "install"
inside sh -c 'cd /srv/rescored && exec rescored fetch'
lap "fetch, downloads included"
# shellcheck disable=SC2016  # Expanded inside.
inside sh -c 'cd /srv/rescored && { RESCORED_LISTEN=127.0.0.1:$1 rescored serve 2>log & } && server=$!
    sh /srv/ask.sh "http://127.0.0.1:$1"; code=$?; kill "$server"; wait "$server"; [ "$code" -eq 0 ] || cat log; exit "$code"' sh "$port"
lap "serve, and the README's request"
# What makes it faster from then on.
inside sh -c 'cd /srv/rescored && exec rescored compile'
lap "compile"
