#!/bin/sh
# Makes the archive of one platform: package.sh TARGET PROGRAM OUT
#
# TARGET is Rust's name of the platform, PROGRAM a release build of `rescored` (which must run on this host, since it prints its
# own manual and completions), OUT a folder. Writes OUT/rescored-VERSION-TARGET.tar.gz and prints its path. The same files
# give the same bytes: times, owners and order are fixed.
set -eu
[ $# -eq 3 ] || { echo "usage: package.sh TARGET PROGRAM OUT" >&2; exit 2; }
target=$1 program=$2 out=$3
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
version=$("$program" --version)
version=${version##* }
name=rescored-$version-$target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/$name/man" "$work/$name/completions" "$work/$name/systemd" "$out"
# Symbols are of use to whoever builds; a trace of the released program names functions without them.
case "$target" in
*-apple-*) strip -x -o "$work/$name/rescored" "$program" ;;
*) strip --output-file="$work/$name/rescored" "$program" ;;
esac
chmod 755 "$work/$name/rescored"
"$program" man "$work/$name/man" >/dev/null
for shell in bash zsh fish; do
    "$program" completions "$shell" >"$work/$name/completions/rescored.$shell"
done
cp "$root/LICENSE" "$root/README.md" "$root/CONFIG.md" "$root/CHANGELOG.md" "$work/$name/"
case "$target" in
*-linux-*) cp "$root/docker/systemd/rescored.service" "$work/$name/systemd/" ;;
*) rmdir "$work/$name/systemd" && cp "$root/docker/launchd/io.rescored.plist" "$work/$name/" ;;
esac

cd "$work"
find "$name" -exec touch -t 200001010000 {} +
find "$name" -type f | LC_ALL=C sort >list
if tar --version 2>/dev/null | grep -q GNU; then
    tar --owner=0 --group=0 --numeric-owner --mode=go-w -cf archive.tar -T list
else
    tar --uid 0 --gid 0 -cf archive.tar -T list
fi
gzip -9n archive.tar
cd "$OLDPWD"
mv "$work/archive.tar.gz" "$out/$name.tar.gz"
echo "$out/$name.tar.gz"
