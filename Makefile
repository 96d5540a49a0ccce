# `make` alone prints the targets. Every target makes the environment first if it is missing or out of date.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
DOCS_STAMP := $(VENV)/.docs-setup-done
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13)
PIP_ARGS ?=

PYTEST := $(BIN)/python -m pytest -n 2

.PHONY: help setup train test test-all test-matrix check format docs tensorboard clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv and install everything (PYTHON=python3.12, PIP_ARGS="...")

train: $(STAMP) ## Train the ODE-Net with dopri5 on the embedded digits (minutes)
	$(BIN)/nodebench train experiment=digits model=odenet solver=dopri5

test: $(STAMP) ## Run the fast tests (minutes)
	$(PYTEST)

test-all: $(STAMP) ## Run every test, the slow ones too
	$(PYTEST) -m "slow or not slow"

test-matrix: ## Run the fast tests on the oldest and newest torch and on every instruction set (hours)
	scripts/test_matrix.sh

check: $(STAMP) ## Check format, lint and types: what .ci/run checks before the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS_STAMP) ## Make the site from docs/ into build/site (warnings are errors; needs no network once installed)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/site
	@echo "open build/site/index.html"

tensorboard: $(STAMP) ## Open TensorBoard on every run under outputs/
	$(BIN)/tensorboard --logdir outputs

clean: ## Remove caches and builds; keep .venv, data and outputs
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache
	find nodebench tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $$python to the first Python that can make an environment. Being on the PATH is not enough, because pyenv leaves
# commands there that only print an error; running is not enough either, because Debian packs ensurepip separately.
define find_python
	python=; without_pip=; \
	for candidate in $(PYTHONS); do \
	    "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	    if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then python=$$candidate; break; fi; \
	    without_pip=$$candidate; \
	done; \
	if [ -z "$$python" ] && [ -n "$$without_pip" ]; then \
	    echo "$$without_pip cannot make environments (no ensurepip): install its venv package" \
	         "(Debian, Ubuntu: apt install $${without_pip##*/}-venv) or name another Python: make setup PYTHON=..." >&2; exit 1; \
	elif [ -z "$$python" ]; then \
	    echo "no Python 3.11, 3.12 or 3.13 works here (tried: $(PYTHONS)):" \
	         "install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi
endef

# A CPU build of torch beside an index build of torchvision (or the reverse) installs well and fails when imported.
define check_torchvision
	message=$$($(BIN)/python -c 'import torchvision' 2>&1) || case "$$message" in \
	*torchvision::nms*) \
	    echo "torchvision does not fit this build of torch (operator torchvision::nms does not exist): take both from one index:" \
	         "$(BIN)/pip uninstall -y torch torchvision, then make setup PIP_ARGS=... as README.md says" >&2; exit 1;; \
	*) \
	    printf '%s\n' "$$message" "torchvision cannot be imported (above): mend $(VENV), or remove it and run make setup again" >&2; exit 1;; \
	esac
endef

# pip leaves alone what is installed and new enough, so versions that .venv already has stay.
$(STAMP): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(find_python); "$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --editable '.[dev]' $(PIP_ARGS)
	@$(check_torchvision)
	@touch $@

# Of `make docs` alone: whoever trains and tests needs none of it.
$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --editable '.[docs]' $(PIP_ARGS)
	@touch $@
