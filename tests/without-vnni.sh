#!/usr/bin/env bash
# Shows on an emulated x86 processor without VNNI (qemu-user, package `qemu-user`) that the unsigned int8 graph which
# `compile` writes there is exact integer arithmetic, and that the shipped signed weights saturate there.
# Slow: emulation takes minutes for the few pairs that are run. FEWER=1 runs as many as `cargo test` does.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v qemu-x86_64 >/dev/null || { echo "missing: qemu-x86_64; install qemu-user" >&2; exit 1; }
tests=$(cargo test --locked --test graph --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/graph-[^"]*\)".*/\1/p' | tail -1)
export RESCORED_TEST_FEWER="${FEWER:-5}"
qemu-x86_64 -cpu "${CPU:-Haswell}" "$tests" --nocapture --test-threads=1 \
    shipped_weights_saturate dynamic_int8_with_unsigned_weights_is_the_exact
