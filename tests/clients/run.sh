#!/usr/bin/env bash
# Starts a server with the real model on a port of its own, runs every client and the contract tests against it, stops it.
#
# RESCORED_BIN names the server (else target/release/rescored); RESCORED_URL names one that runs already.
# Arguments choose suites: python, node, contract; none means all.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${CLIENTS_PYTHON:-.venv-clients/bin/python}
schemathesis=${SCHEMATHESIS:-$PWD/.venv-contract/bin/schemathesis}
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(python node contract)
server=
work=$(mktemp -d)
log=$work/server.log

stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || echo "the server ended with $?" >&2
        server=
    fi
    rm -rf "$work"
}
trap stop EXIT

start() {
    local binary=${RESCORED_BIN:-target/release/rescored}
    [ -x "$binary" ] || { echo "RESCORED_BIN: $binary is not there; build it by \`make test-clients\`" >&2; exit 1; }
    local port
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export RESCORED_URL="http://127.0.0.1:$port"
    # The server refuses variables that it does not know, and the developer's own settings are not what is tested.
    local mine=() name
    for name in $(compgen -e RESCORED_); do
        mine+=(-u "$name")
    done
    # With control on, the repository answers more than that it may not be asked.
    env "${mine[@]}" RESCORED_LISTEN="127.0.0.1:$port" RESCORED_MODEL_CONTROL=on "$binary" serve >"$log" 2>&1 &
    server=$!
    for _ in $(seq 240); do
        if curl --silent --fail --noproxy '*' --output /dev/null "$RESCORED_URL/readyz"; then
            return
        fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.25
    done
    echo "the server did not become ready:" >&2
    tail -n 20 "$log" >&2
    exit 1
}

run_python() {
    "$python" -m pytest -q -rs --continue-on-collection-errors -p no:cacheprovider tests/clients/python
}

run_node() {
    NO_PROXY=127.0.0.1 node --test --test-reporter=spec tests/clients/node/clients.test.mjs
}

# The OpenAPI document against the server's real answers.
run_contract() {
    local document="$RESCORED_URL/openapi.json" status
    status=$(curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' "$document")
    if [ "$status" != 200 ]; then
        echo "GET /openapi.json: $status; the contract cannot be tested without the document" >&2
        return 1
    fi
    local config=$PWD/tests/clients/schemathesis.toml hooks=$PWD/tests/clients/hooks.py
    "$(dirname "$schemathesis")/python" tests/clients/documents.py || return 1
    (cd "$work" && NO_PROXY=127.0.0.1 SCHEMATHESIS_HOOKS=$hooks "$schemathesis" --config-file "$config" run "$document")
}

[ -n "${RESCORED_URL:-}" ] || start
failed=()
for suite in "${suites[@]}"; do
    echo "== $suite"
    "run_$suite" || failed+=("$suite")
done
if [ -n "$server" ] && ! kill -0 "$server" 2>/dev/null; then
    echo "the server died:" >&2
    tail -n 20 "$log" >&2
    failed+=(server)
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
