# Every target sets up what it needs in .venv; both `make demo` and `make test` may be run again at any time.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help demo test test-all browser lint setup bench bench-gpu performance mini-space clean

help: ## what can be made here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## ingest the bundled images, ask in a dozen languages, write polyglance-demo.html
	$(BIN)/polyglance demo

test: lint browser ## lint, types and every quick test (under 10 minutes)
	$(BIN)/pytest -n logical --maxprocesses 4 -m "not slow"

test-all: lint browser ## everything, the slow tests too
	$(BIN)/pytest -n logical --maxprocesses 4

# The gallery is tested in a real browser. Where none can be had, those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "== installing chromium for the gallery's tests" \
	  && apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y chromium >/dev/null; } \
	  || echo "== no chromium: the gallery's tests will be skipped"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "== setting up .venv (the first time takes a few minutes)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "polyglance needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

bench: setup ## compare this pipeline with a plain script; writes benchmarks/results
	$(BIN)/python -m benchmarks.bench_ingest

bench-gpu: setup ## what a GPU decides: its tests, the forward pass, end to end; under nine minutes, nothing fetched
	$(BIN)/python -m benchmarks.bench_gpu

performance: setup ## write docs/performance.md and its plots from benchmarks/results
	$(BIN)/python -m benchmarks.report

mini-space: setup ## make the bundled model and images again (fetches from npm, trains for about an hour)
	$(BIN)/python -m demo.make .cache/mini-space

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
