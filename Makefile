# Everything starts from a fresh clone with Python 3.11 or newer, git and make; `make` lists the targets.

BIN := .venv/bin
STAMP := .venv/.made
PYTHONS := python3.11 python3.12 python3.13 python3.14 python3
# The last version of the MinIO server's module; it has no release tags.
MINIO := github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c
# Two at a time, file by file: clusters wait more than they compute. In the order of tests/conftest.py, so that modules
# that can use the same cluster follow one another.
SERVERLESS := tests/unit tests/vectors
CLUSTERLESS := $(SERVERLESS) tests/contract
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder --durations=20
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help env up test test-fast lint bench minio compose-secrets compose-test clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(STAMP) ## the environment in .venv, so that .venv/bin/boveda runs
	@echo "the environment is in .venv; start with 'make up'"

# Made again when what it is made of changes. A build that breaks off leaves no stamp.
$(STAMP): requirements/test.txt pyproject.toml
	@for python in $(PYTHONS); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "Bóveda needs Python 3.11 or newer, and none of these is: $(PYTHONS)" >&2; exit 1; fi; \
	echo "== making .venv with $$($$found --version)"; \
	$$found -m venv .venv || { echo "no venv: on Debian and Ubuntu install python3-venv" >&2; exit 1; }
	@echo "== installing packages (a few minutes the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --require-hashes -r requirements/test.txt
	@echo "== installing Bóveda itself"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

up: $(STAMP) ## the whole store on this machine, in the foreground; Ctrl-C stops it and keeps the data
	@exec $(BIN)/boveda up $(ARGS)

# Without ARGS in three parts: what needs no cluster, what does, and what measures times or memory, which runs by itself.
# That one failed does not keep the next from running.
test: $(STAMP) ## the whole suite, against real nodes and a real queue
ifeq ($(strip $(ARGS)),)
	@status=0; \
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(CLUSTERLESS) || status=$$?; \
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(CLUSTERLESS:%=--ignore=%) -m "not alone" || status=$$?; \
	$(BIN)/python -m pytest $(CLUSTERLESS:%=--ignore=%) -m alone || status=$$?; \
	exit $$status
else
	@exec $(BIN)/python -m pytest $(ARGS)
endif

test-fast: $(STAMP) ## what needs no servers, in a minute or two
	@exec $(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(SERVERLESS) $(ARGS)

lint: $(STAMP) ## format, ruff, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## measure everything, into docs/results (an hour; needs ab, wrk and curl); ARGS=--quick
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet --require-hashes -r requirements/bench.txt
	@$(BIN)/python -m bench $(ARGS)

minio: ## build the MinIO server into Go's own bin folder, where `boveda up` finds it
	@PATH="$$PATH:/usr/local/go/bin:/usr/lib/go/bin"; \
	command -v go >/dev/null || { echo "Go is not installed; without MinIO, the nodes are SeaweedFS" >&2; exit 1; }; \
	folder=$$(go env GOBIN); folder=$${folder:-$$(go env GOPATH | cut -d: -f1)/bin}; \
	echo "== building MinIO into $$folder (some minutes)"; \
	go install -ldflags "-s -w" $(MINIO) && "$$folder/minio" --version | head -n 1

compose-secrets: ## random credentials for the containers
	@compose/secrets.sh

compose-test: ## start the containers, try them, end them
	@compose/test.sh

clean: ## delete the environment and all caches, never the data in .boveda
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -not -path './.boveda/*' -exec rm -rf {} +
