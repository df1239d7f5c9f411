#!/bin/sh
# Writes the bill of materials of the program in CycloneDX's JSON: sbom.sh OUT. It needs cargo-cyclonedx.
set -eu
[ $# -eq 1 ] || { echo "usage: sbom.sh OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(CDPATH='' cd -- "$1" && pwd)
cd "$(dirname "$0")/../.."
version=$(docker/release/version.sh)
# One file a binary, beside the manifest of its package.
cargo cyclonedx --format json --spec-version 1.5 --describe binaries --target all --quiet
mv rescored_bin.cdx.json "$out/rescored-$version.cdx.json"
find . -name '*_bin.cdx.json' -not -path './target/*' -delete
