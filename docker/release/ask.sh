#!/bin/sh
# Waits for a sidecar and asks it the README's question: ask.sh URL. Fails unless the first passage wins.
set -eu
[ $# -eq 1 ] || { echo "usage: ask.sh URL" >&2; exit 2; }
tries=0
until curl --silent --fail --output /dev/null "$1/readyz"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "ask.sh: $1 is not ready" >&2; exit 1; }
    sleep 0.2
done
answer=$(curl --silent --fail "$1/v1/rerank" --header 'content-type: application/json' --data \
    '{"query":"how many people live in berlin","documents":["Berlin has a population of 3,520,031 registered inhabitants.","New York City is famous for its museum of art."]}')
echo "$answer"
case "$answer" in *'"results":[{"index":0,"relevance_score":0.99'*) ;; *) echo "ask.sh: another answer was expected" >&2; exit 1 ;; esac
