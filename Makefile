# `make` alone lists what there is. Every target first installs what it needs into .venv.

PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python

.PHONY: help demo test check stress bench docs test-all clean
.DELETE_ON_ERROR:
.PRECIOUS: .venv-3.%/.ready

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' $(MAKEFILE_LIST)

PICTURES = "$(or $(SRC),.demo/pictures)"

demo: .venv/.ready ## resize 600 pictures, then compare how to filter some of them, with a chart (SRC=folder: your own)
	@$(if $(SRC),,$(PY) examples/photos.py)
	$(BIN)/manyhands images $(PICTURES) -r -o .demo/small --resize 200x200 --format jpg
	$(BIN)/manyhands images $(PICTURES) -r -o .demo/comparison --resize 200x200 --format jpg \
	  --each-filter blur,edges,emboss,sharpen --compare --rounds 3

test: .venv/.ready ## the tests
	$(PY) -m pytest

check: .venv/.ready ## style, layout, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src examples tests/typing_check.py
	$(BIN)/lint-imports --no-logo

stress: .venv/.ready ## the long and rough tests
	$(PY) -m pytest -m stress -n 0 --timeout 900

bench: .venv-bench/.ready $(if $(filter 1,$(BENCH_CLUSTERS)),.venv-bench/.clusters) ## compare with other libraries, about a quarter of an hour; CASE=tiny: one case; BENCH_CLUSTERS=1: ray and dask, too
	@.venv-bench/bin/python -m compileall -q src benchmarks # the other libraries were when they were installed
	BENCH_CLUSTERS=$(BENCH_CLUSTERS) .venv-bench/bin/python -m benchmarks $(CASE)

docs: .venv/.ready ## the documentation, into site/; a broken link is an error
	$(BIN)/properdocs build --strict

test-all: test ## the tests on every Python from 3.11 on that this machine has
	@others=$$($(OTHER_VERSIONS)); \
	if [ -n "$$others" ]; then $(MAKE) --no-print-directory $$(printf 'test-%s ' $$others); \
	else echo "No other Python from 3.11 on was found."; fi

test-3.%: .venv-3.%/.ready
	.venv-3.$*/bin/python -m pytest

clean: ## remove everything that make made
	rm -rf .venv .venv-3.* .venv-bench .demo site build dist
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "manyhands needs Python 3.11 or newer; '$(PYTHON)' is older or does not run. Name another: make PYTHON=..."; exit 1; }
	$(call install,$(PYTHON),.venv)

.venv-bench/.ready: pyproject.toml benchmarks/peers.txt
	$(call install,$(PYTHON),.venv-bench)
	@.venv-bench/bin/python -m pip install --quiet --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@touch $@

.venv-bench/.clusters: .venv-bench/.ready benchmarks/clusters.txt
	@.venv-bench/bin/python -m pip install --quiet --quiet --disable-pip-version-check -r benchmarks/clusters.txt
	@touch $@

.venv-3.%/.ready: pyproject.toml
	$(call install,"$$($(call find_python,$*))",.venv-3.$*)

# $(call install,interpreter,folder)
define install
	@echo "installing into $2: about a minute"
	$1 -m venv $2
	$2/bin/python -m pip install --quiet --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $2/.ready
endef

# $(call find_python,minor) prints the path of a Python 3.minor that really runs and can make a venv.
# A command being there is not enough: pyenv leaves one for versions that are not switched on.
find_python = for candidate in python3.$1 "$$(pyenv root 2>/dev/null)"/versions/*/bin/python3.$1; do \
	"$$candidate" -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null && break; done

# Prints 3.X for each Python found that .venv is not made of.
OTHER_VERSIONS = for minor in $$(seq 11 30); do \
	[ "$$minor" = "$$($(PY) -c 'import sys; print(sys.version_info.minor)')" ] && continue; \
	[ -n "$$($(call find_python,$$minor))" ] && echo "3.$$minor"; done; true
