# Every target first makes the environment that it needs; the second call of each is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sweepboard
KEY := $(shell cat constraints.txt | sha256sum | cut -c1-16)-$(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
SHARED := $(CACHE)/venvs/$(KEY)
PY := .venv/bin/python
DEMO ?= orchestrator/examples/demo.yaml
DEMO_ARGS ?=
# One thread per process: two pools of spinning threads on two cores were three times slower.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= passive

.PHONY: help install demo test lint types slow chaos bench facts pretrain

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: .venv/.ready ## make .venv (packages are shared by all checkouts with the same constraints.txt)

demo: install ## run the demo sweep on the shipped backbone and print its leaderboard
	@.venv/bin/sweepboard run $(DEMO) $(DEMO_ARGS)
	@.venv/bin/sweepboard leaderboard "$$(sed -n 's/^name: *//p' $(DEMO))"
	@echo "every run in MLflow: .venv/bin/sweepboard ui, then open http://127.0.0.1:5000"

test: install lint types ## lint, types, layers, and all quick tests (prints the ten slowest)
	@$(PY) -m pytest -m 'not slow and not gpu and not chaos' -n auto --maxprocesses=4 --dist=loadfile

lint: install ## ruff and the import rules
	@$(SHARED)/bin/ruff check .
	@$(SHARED)/bin/ruff format --check .
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

types: install ## mypy --strict over the four packages
	@$(PY) -m mypy

slow: install ## tests that take minutes: real installs, demo bars
	@$(PY) -m pytest -m 'slow and not chaos'

chaos: install ## kills of the driver, a slot and Ray over whole sweeps (about half an hour)
	@$(PY) -m pytest -m chaos

bench: install ## measured ratios, side by side in one run (not part of CI)
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; PYTHONPATH=. $(PY) $$bench || exit 1; done

facts: install ## regenerate the facts that plans read instead of importing torch
	@$(PY) -m methods.make_facts
	@$(PY) -m workers.make_backbone_facts

pretrain: install ## pre-train the shipped backbones again (about 26 and 14 minutes of one core)
	@for name in nano_vit pico_vit; do $(PY) -m workers.embedded.pretrain $$name --out workers/embedded/weights/$$name.safetensors || exit 1; done

# The dependencies live in one shared environment; .venv is a thin one on top of it that holds only this checkout.
.venv/.ready: $(SHARED)/.ready pyproject.toml
	@rm -rf .venv && $(PYTHON) -m venv --without-pip .venv
	@echo "import site; site.addsitedir('$$(echo $(SHARED)/lib/python*/site-packages)')" > $$(echo .venv/lib/python*/site-packages)/shared.pth
	@$(SHARED)/bin/python -m pip --python $(PY) install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(SHARED)/.ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@mkdir -p $(SHARED)
	@echo "installing the packages of constraints.txt into $(SHARED) (once; a few minutes, about 6 GB with CUDA)" >&2
	@exec 9>$(SHARED).lock; flock 9; test -e $@ || { \
	  $(PYTHON) -m venv --clear $(SHARED) && \
	  $(PYTHON) -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; print(*p["dependencies"], *(d for part in ("train", "ray", "mlflow", "postgres", "tune", "convert", "dev") for d in e[part]), "setuptools", sep="\n")' > $(SHARED)/requirements.txt && \
	  $(SHARED)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(SHARED)/requirements.txt && touch $@; }
