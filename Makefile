# Two commands do everything on a machine with Python 3.11 or 3.12 and make: `make demo` and `make test`.
# Both make their own .venv; nothing needs root.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
LOG := $(VENV)/install.log
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
PACKAGES := converters demo_apps mobiledistill

# ---------------------------------------------------------------------------------------------------- commands

.PHONY: help demo quick test lint types tests long clean

help: ## lists these commands
	@echo "make COMMAND, where COMMAND is one of"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile

demo: $(VENV)/.installed-all ## compresses a recogniser of spoken digits to 60 kB and 0.3 ms, in three formats
	@$(BIN)/mobiledistill demo speech --size 60kB --latency 0.3ms --workdir runs/digits

quick: $(VENV)/.installed-all ## runs every demo and Hinton's tables the short way: a slice of the data, small networks
	@$(BIN)/mobiledistill demo speech --task sentences --quick --workdir runs/speech
	@$(BIN)/mobiledistill demo detection --quick --workdir runs/detection
	@$(BIN)/mobiledistill demo translation --quick --workdir runs/translation
	@if [[ -n "$${MOBILEDISTILL_DATA:-}" ]]; then \
	  $(BIN)/python -m benchmarks.hinton --quick --workdir runs/hinton-quick --json runs/hinton-quick/hinton.json; \
	else echo "=== hinton: SKIPPED, MOBILEDISTILL_DATA names no folder that holds mnist"; fi

test: $(VENV)/.installed-dev ## lints, checks types, runs the tests
	@failed=(); \
	for stage in lint types tests; do $(MAKE) $$stage || failed+=("$$stage"); done; \
	if (( $${#failed[@]} )); then echo "make test: FAILED in $${failed[*]}"; exit 1; fi; \
	echo "make test: done"

lint: $(VENV)/.installed-dev ## ruff check, ruff format --check
	@$(call stage,lint,ruff,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

types: $(VENV)/.installed-dev ## mypy --strict over the three packages
	@$(call stage,types,mypy,$(BIN)/mypy)

tests: $(VENV)/.installed-dev ## pytest, but for what takes 20 seconds and more; ARGS="-k budget" chooses
	@$(call stage,tests,pytest,$(BIN)/pytest -m "not long" $(SPREAD) $(ARGS))

long: $(VENV)/.installed-dev ## pytest, what takes 20 seconds and more; CI runs it too
	@$(call stage,long,pytest,$(BIN)/pytest -m long $(SPREAD) $(ARGS))

clean: ## removes .venv and what the commands above left behind, runs/ excepted
	rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------------- parts

# $(call stage,NAME,TOOL,COMMAND): runs COMMAND; where TOOL is missing it says so, and fails only when told to.
define stage
if [[ -x $(BIN)/$(2) ]]; then echo "=== $(1)"; $(3); \
elif [[ "$${MOBILEDISTILL_REQUIRE:-}" == all ]]; then echo "=== $(1): FAILED, $(2) is not in $(VENV)"; exit 1; \
else echo "=== $(1): SKIPPED, $(2) is not in $(VENV); rm $(VENV)/.installed-dev makes the next run install it"; fi
endef

# $(call install,EXTRAS): pip's own words go to a log; people see that it moves.
define install
echo "Installing mobiledistill[$(1)] into $(VENV): 2 to 4 GB and a few minutes the first time; all words in $(LOG)"; \
began=$$SECONDS; \
if ! $(BIN)/python -m pip install --progress-bar off --editable '.[$(1)]' 2>&1 | tee $(LOG) \
  | awk '/^(Collecting|Processing)/ && ++n % 15 == 0 {print "  " n " packages found"; fflush()} \
         /^Installing collected/ {print "  " n + 0 " packages found, unpacking"; fflush()}'; \
then echo "pip failed; the end of $(LOG):"; tail -n 15 $(LOG); exit 1; fi; \
echo "Installed in $$((SECONDS - began)) s."
endef

$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	@$(call install,all)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@$(call install,all$(COMMA)dev)
	@touch $@ $(VENV)/.installed-all

COMMA := ,

# The first Python found that runs, is of a version we support and can make virtual environments (Debian parts that
# off); PYTHON=/path/to/python overrules the search. Half an environment is not left behind.
$(BIN)/python:
	@right='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))'; \
	for python in $(or $(PYTHON),python3.11 python3.12 python3); do \
	  if "$$python" -c "$$right" 2>/dev/null; then \
	    if "$$python" -m venv $(VENV); then exit; fi; \
	    rm -f $(BIN)/python; \
	  fi; \
	done; \
	echo "None of $(or $(PYTHON),python3.11 python3.12 python3) is a Python 3.11 or 3.12 with the module venv:" \
	  "install one, or name it: make PYTHON=/path/to/python"; \
	exit 1
