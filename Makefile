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
	$(CARGO) test --workspace --exclude bolide-e2e
