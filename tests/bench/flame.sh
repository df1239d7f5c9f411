#!/bin/sh
# Draws where the CPU time of a serving process goes, as tests/bench/reports/flame.svg, and prints it by thread and library.
#
#     tests/bench/flame.sh BINARY PRECISION
#
# Serves the default model without its cache, asks for 32 documents at a time that were not seen before, and samples all
# threads once the model is loaded. Needs Linux's perf, and inferno, which it builds below target/tools where it is missing.
set -eu

binary=${1:-target/release/rescored}
precision=${2:-int8}
work=$(mktemp -d)
tools=target/tools
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

command -v perf >/dev/null || { echo "perf is missing: install linux-perf" >&2; exit 1; }
[ -x "$tools/bin/inferno-flamegraph" ] || cargo install --quiet --locked --root "$tools" inferno

RESCORED_LISTEN=127.0.0.1:0 RESCORED_CACHE_BYTES=0 RESCORED_PRECISION=$precision RESCORED_LOG_FORMAT=json \
    "$binary" 2>"$work/log" &
server=$!
until grep -q '"message":"ready"' "$work/log"; do
    kill -0 "$server" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
address=$(sed -n 's/.*"address":"\([0-9.:]*\)".*/\1/p' "$work/log" | head -n 1)

python3 - "$address" <<'PYTHON' &
import http.client, json, random, sys, time

words = open("README.md").read().split()
client = http.client.HTTPConnection(sys.argv[1])
end = time.time() + 40
while time.time() < end:
    documents = [" ".join(random.choices(words, k=random.randrange(10, 120))) for _ in range(32)]
    body = json.dumps({"query": " ".join(random.choices(words, k=8)), "documents": documents})
    client.request("POST", "/v1/rerank", body, {"content-type": "application/json"})
    answer = client.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
PYTHON
load=$!
sleep 5
perf record --quiet --event cpu-clock --freq 199 --call-graph dwarf,8192 --pid "$server" --output "$work/perf.data" -- sleep 20
wait "$load"

perf script --input "$work/perf.data" --no-inline 2>/dev/null >"$work/script"
"$tools/bin/inferno-collapse-perf" <"$work/script" >"$work/folded"
"$tools/bin/inferno-flamegraph" --title "rescored, $precision, 32 documents a request" --minwidth 0.2 \
    <"$work/folded" >tests/bench/reports/flame.svg
perf report --input "$work/perf.data" --stdio --no-children --call-graph none --sort comm,dso --percent-limit 0.1 2>/dev/null |
    grep -v '^#' | grep .
