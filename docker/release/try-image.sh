#!/bin/sh
# Starts an image as clusters do (read-only root, no capabilities, another user's files out of reach) and asks it:
# try-image.sh IMAGE
set -eu
[ $# -eq 1 ] || { echo "usage: try-image.sh IMAGE" >&2; exit 2; }
name=rescored-try-$$
docker run --detach --name "$name" --read-only --cap-drop ALL --security-opt no-new-privileges --memory 1g \
    --volume "$name:/cache" --env RESCORED_CACHE_SNAPSHOT=/cache/scores.snapshot --publish 127.0.0.1:8798:8787 "$1"
trap 'docker logs "$name"; docker rm --force "$name"; docker volume rm "$name"' EXIT
"$(dirname "$0")/ask.sh" http://127.0.0.1:8798
docker stop --time 40 "$name"
code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
[ "$code" -eq 0 ] || { echo "try-image.sh: it ended with $code" >&2; exit 1; }
