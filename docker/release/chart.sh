#!/bin/sh
# Packages the chart with the release's image as its default: chart.sh IMAGE OUT
set -eu
[ $# -eq 2 ] || { echo "usage: chart.sh IMAGE OUT" >&2; exit 2; }
image=$1 out=$2
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
# Links are followed: the alert rules lie outside of the chart.
cp -RL "$root/docker/helm/rescored" "$work/rescored"
sed "s|^\( *\)repository: rescored\$|\1repository: $image|" "$root/docker/helm/rescored/values.yaml" >"$work/rescored/values.yaml"
helm package "$work/rescored" --destination "$out"
