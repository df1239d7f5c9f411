# Every verb that people and CI use. `make` alone lists them.

CARGO ?= cargo
PYTHON ?= python3
export RUSTDOCFLAGS ?= -D warnings

.DEFAULT_GOAL := help
.PHONY: test-stranger help run fetch test test-clients test-engines test-ui check lint bless bench bench-report bench-cache bench-cache-report bench-overload bench-calm bench-hostile simulate fuzz test-manifests deny

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## Build, fetch the runtime and the default model, compile it for this host, serve on 127.0.0.1:8787
	$(CARGO) build --release --locked --bin rescored
	target/release/rescored fetch --python $(PYTHON)
	target/release/rescored compile
	exec target/release/rescored serve

fetch: ## Fetch the runtime and a model into models/ (MODEL=id, else the default)
	$(if $(RESCORED_BIN),$(RESCORED_BIN),$(CARGO) run --locked --quiet --) fetch --python $(PYTHON) $(MODEL)

test: ## Run every test, with the real runtime and model
	$(CARGO) test --locked --no-run
	$(or $(CARGO_TARGET_DIR),target)/debug/rescored fetch --python $(PYTHON)
	$(CARGO) test --locked

test-engines: ## Search through real engines (OpenSearch, Vespa, ...) with the shipped configuration
	@test -n "$(RESCORED_BIN)" || { $(CARGO) build --release --locked && target/release/rescored fetch --python $(PYTHON); }
	$(PYTHON) tests/engines/run.py

test-ui: tests/ui/node_modules ## Drive the page at /ui in a real Chromium, axe-core included
	@test -n "$(RESCORED_BIN)" || { $(CARGO) build --release --locked && target/release/rescored fetch --python $(PYTHON); }
	node --test tests/ui/pure.test.mjs tests/ui/ui.test.mjs

lint: ## Formatting, clippy and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) doc --locked --no-deps --document-private-items

test-clients: fetch .venv-clients .venv-contract tests/clients/node_modules ## Run clients from PyPI and npm against the server
	$(if $(RESCORED_BIN),,$(CARGO) build --release --locked)
	tests/clients/run.sh

test-stranger: ## Walk the path of a newcomer: clone, make run, curl, /ui, OpenSearch recipe (builds a release)
	$(PYTHON) tests/stranger.py

test-manifests: fetch .venv-manifests tests/manifests/node_modules ## Check what is under docker/ and .github/: image, manifests, chart, alerts, units, workflows
	$(if $(RESCORED_BIN),,$(CARGO) build --locked)
	.venv-manifests/bin/python tests/manifests/check.py

check: lint test ## What must be green before a commit: lint and test

bless: ## Write generated files anew (CONFIG.md)
	RESCORED_BLESS=1 $(CARGO) test --locked --test tidy

bench: fetch .venv-bench ## Measure throughput against other programs (BENCH_ROUNDS, BENCH_REQUESTS shorten it; BENCH_REPORT names a file to keep, as for every bench)
	$(CARGO) bench --locked --package rescored --bench throughput

bench-cache: ## Measure what `rescored bench cache` cannot see of the score cache: entries, a stalled tier (PART=entries, stalled for one; BENCH_SHORT=1 tries it in a debug build)
	$(CARGO) $(if $(BENCH_SHORT),test,bench --package rescored) --locked --bench cache -- --bench $(PART)

bench-cache-report: fetch ## Measure the score cache in full, also with the real model, and keep the tables in tests/bench/reports/cache.md
	-BENCH_REPORT=tests/bench/reports/cache.md $(MAKE) --no-print-directory bench-cache
	$(CARGO) build --release --locked
	target/release/rescored bench cache --report tests/bench/reports/cache.md

bench-overload: fetch ## Measure overload, clients that go away, slow clients, stops (PART=overload, disconnects, loris, stops for one)
	$(CARGO) bench --locked --package rescored --bench overload -- $(PART)

# The former name.
bench-calm: bench-overload

bench-hostile: fetch ## Measure what hostile texts cost as multiples of prose, and whom they keep waiting (PART=cost, wait for one)
	$(CARGO) bench --locked --package rescored --bench hostile -- $(PART)

simulate: ## Simulate SIMULATE_STEPS steps (10,000,000) of requests, engine and faults on virtual time, from SIMULATE_SEED (1); a failure says how it is replayed
	SIMULATE_STEPS=$(or $(SIMULATE_STEPS),10000000) SIMULATE_SEED=$(or $(SIMULATE_SEED),1) $(CARGO) test --locked --release --package rescored-server --lib -- simulation::the_invariants --nocapture

deny: ## Judge licences, sources and known faults of the dependencies by cargo-deny (which is built where it is missing)
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked
	$(CARGO) deny check licenses bans sources
	$(CARGO) deny check advisories

fuzz: ## Fuzz every parser for FUZZ_SECONDS each (20), or for FUZZ_RUNS inputs each
	tests/fuzz/run.sh

bench-report: ## Measure for about ten minutes, and keep the table in tests/bench/reports and, in short, in README.md
	BENCH_ROUNDS=$(or $(BENCH_ROUNDS),4) BENCH_REQUESTS=$(or $(BENCH_REQUESTS),2) BENCH_REPORT=tests/bench/reports/cpu-throughput.md BENCH_README=README.md $(MAKE) --no-print-directory bench

.venv-bench: tests/bench/requirements.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --requirement tests/bench/requirements.txt
	touch $@

.venv-manifests: tests/manifests/requirements.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --requirement tests/manifests/requirements.txt
	touch $@

.venv-clients: tests/clients/requirements.txt tests/clients/constraints.txt tests/clients/no-deps.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --requirement tests/clients/requirements.txt
	$@/bin/pip install --quiet --no-deps --requirement tests/clients/no-deps.txt
	touch $@

.venv-contract: tests/clients/contract.txt
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --requirement tests/clients/contract.txt
	touch $@

tests/clients/node_modules: tests/clients/package-lock.json
	npm ci --prefix tests/clients --no-audit --no-fund
	touch $@

tests/manifests/node_modules: tests/manifests/package-lock.json
	npm ci --prefix tests/manifests --no-audit --no-fund
	touch $@

tests/ui/node_modules: tests/ui/package-lock.json
	npm ci --prefix tests/ui --no-audit --no-fund
	touch $@
