#!/bin/sh
# Completes a folder of archives to what a release publishes: assemble.sh VERSION RELEASES DIR
#
# Adds install.sh for this version, SHA256SUMS of everything, the Homebrew formula rescored.rb, and NOTES.md, the part of
# CHANGELOG.md about this version (or what is unreleased).
set -eu
[ $# -eq 3 ] || { echo "usage: assemble.sh VERSION RELEASES DIR" >&2; exit 2; }
version=$1 releases=$2
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$3"
sed -e "s|^version=\"@VERSION@\"|version=\"$version\"|" -e "s|^from=\"@RELEASES@\"|from=\"$releases\"|" "$here/../install.sh" >install.sh
chmod 755 install.sh
rm -f SHA256SUMS rescored.rb NOTES.md
sums="sha256sum"
command -v sha256sum >/dev/null || sums="shasum -a 256"
$sums -- * >.sums
mv .sums SHA256SUMS
"$here/formula.sh" "$version" "$releases" SHA256SUMS >rescored.rb
awk -v version="$version" '/^## / { on = index($0, version) || (!found && /Unreleased/); found = found || on } on' \
    "$here/../../CHANGELOG.md" >NOTES.md
