# The only command list. Every target says what it does in one line; `make help` prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## release binaries: target/release/bolide and target/release/bolide-operator
	$(CARGO) build --release --bin bolide --bin bolide-operator

.PHONY: fmt
fmt: ## format the Rust sources
	$(CARGO) fmt --all

.PHONY: lint
lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: unit
unit: ## unit, golden and property tests of every crate (no e2e)
	$(CARGO) test --workspace --exclude bolide-e2e --exclude bolide-sim

.PHONY: sim
sim: ## whole replicated groups under simulated faults: thousands of seeds; SIM_SEED=n replays one, SIM_SEEDS=n says how many
	SIM_SEEDS=$${SIM_SEEDS:-4000} $(CARGO) test --profile sim -p bolide-sim -- --nocapture

.PHONY: sim-mutations
sim-mutations: ## put each deliberate mistake in and show the seed that catches it (SIM_MUTATION=name: only that one)
	$(CARGO) test --profile sim -p bolide-sim --features mutations --test mutations -- --nocapture

.PHONY: test
test: ## every test there is: unit, property, and end to end with the official clients and a real Kubernetes
	@e2e/test all

.PHONY: e2e
e2e: ## end to end only: real processes, official clients, a real Kubernetes
	@e2e/test e2e

.PHONY: check
check: lint unit sim crds-unchanged manifests-unchanged ## what a change must pass before review; minutes, no client or cluster needed

.PHONY: crds
crds: ## write crds/ from the Rust types, and the chart's copies
	@operator/write-crds

.PHONY: crds-unchanged
crds-unchanged: ## fail when crds/ is not what the Rust types say
	@operator/write-crds --check

.PHONY: manifests
manifests: ## render manifests/install.yaml from the chart (needs helm)
	@charts/write-manifests

.PHONY: manifests-unchanged
manifests-unchanged: ## fail when manifests/install.yaml is not what the chart says
	@charts/write-manifests --check

.PHONY: request-codes
request-codes: ## write docs/request-codes.md from the dispatch tables
	$(CARGO) run --quiet --bin bolide request-codes > target/request-codes.md
	mv target/request-codes.md docs/request-codes.md

.PHONY: bench
bench: build ## Bolide, Apache RocketMQ and a null server under the same load; the operator under 1,000 topics on a real Kubernetes
	$(CARGO) build --release --package bolide-bench
	$(CARGO) run --package bolide-bench-kube
	e2e/apache/apache fetch
	target/release/bolide-bench run

.PHONY: fuzz-smoke
fuzz-smoke: ## a minute of each fuzz target (needs a nightly compiler and cargo-fuzz)
	dataplane/fuzz/smoke

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean
