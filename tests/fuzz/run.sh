#!/usr/bin/env bash
# Runs fuzz targets: `run.sh` all of them for FUZZ_SECONDS (20) each; with FUZZ_RUNS=N each for N inputs. Further arguments name
# targets. Fails at a crash, an input that takes more than 5 s, or more than 2 GiB. New inputs stay out of the repository, in
# target/; what is worth keeping goes to tests/fuzz/corpus by hand (`-merge=1`).
set -euo pipefail
cd "$(dirname "$0")"
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(bodies engine_results texts snapshot configuration)

# Coverage by stable compiler flags, as cargo-fuzz sets them; no sanitizer, which would need a nightly compiler: the crate has
# no unsafe code but one call.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 ${RUSTFLAGS:-}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target/fuzz}"
host=$(rustc -vV | sed -n 's/^host: //p')
# The versions that rescored is built with; cargo adds libFuzzer's.
cp ../../Cargo.lock Cargo.lock
# With a target named, the flags are not for build scripts.
cargo build --release --target "$host" "${targets[@]/#/--bin=}"

for target in "${targets[@]}"; do
    found="$CARGO_TARGET_DIR/corpus/$target"
    mkdir -p "$found"
    limit=("-max_total_time=${FUZZ_SECONDS:-20}")
    [ -z "${FUZZ_RUNS:-}" ] || limit=("-runs=$FUZZ_RUNS")
    extra=()
    [ ! -f "$target.dict" ] || extra=("-dict=$target.dict")
    echo "== $target"
    "$CARGO_TARGET_DIR/$host/release/$target" "${limit[@]}" "${extra[@]}" -timeout=5 -rss_limit_mb=2048 -max_len=4096 \
        -print_final_stats=1 -artifact_prefix="$CARGO_TARGET_DIR/$target-" "$found" "corpus/$target" 2>&1 |
        grep -E "^(stat::|==|SUMMARY|.*ERROR|.*panicked|Done|artifact_prefix|Test unit)|NEW_FUNC|DONE" | grep -v NEW_FUNC
done
