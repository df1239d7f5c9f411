#!/bin/sh
# Unpacks an archive of a release, fetches, compiles, serves and asks as a newcomer does: try-archive.sh ARCHIVE
set -eu
[ $# -eq 1 ] || { echo "usage: try-archive.sh ARCHIVE" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$work"' EXIT
tar -xzf "$1" -C "$work"
cd "$work"/rescored-*
./rescored fetch
./rescored compile
RESCORED_LISTEN=127.0.0.1:8797 ./rescored serve &
server=$!
"$here/ask.sh" http://127.0.0.1:8797
