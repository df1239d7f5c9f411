#!/bin/sh
# Prints the version of this checkout, which stands in Cargo.toml alone; every other place has to agree, and so has WANTED.
# version.sh [WANTED]
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
faults=0
agree() {
    [ "$2" = "$version" ] || { echo "version.sh: $1 says \`$2\`, Cargo.toml says \`$version\`" >&2; faults=1; }
}
[ $# -eq 0 ] || agree "the tag" "$1"
agree docker/helm/rescored/Chart.yaml "$(sed -n 's/^version: //p' docker/helm/rescored/Chart.yaml)"
agree "appVersion of docker/helm/rescored/Chart.yaml" "$(sed -n 's/^appVersion: //p' docker/helm/rescored/Chart.yaml)"
agree docker/helm/rescored/README.md "$(sed -n 's/^Version \([^,]*\),.*/\1/p' docker/helm/rescored/README.md)"
# The first <version> of a pom is its own or its parent's.
for pom in plugin-config/java/pom.xml plugin-config/java/client/pom.xml plugin-config/opensearch/plugin/pom.xml; do
    agree "$pom" "$(sed -n 's,.*<version>\(.*\)</version>.*,\1,p' "$pom" | head -n 1)"
done
agree plugin-config/opensearch/README.md \
    "$(sed -n 's/.*rescored-opensearch-[0-9.]*-\([0-9.]*[0-9]\)\.zip.*/\1/p' plugin-config/opensearch/README.md | sort -u)"
[ "$faults" -eq 0 ]
echo "$version"
