# `make sweep` and `make test` need python3 ≥ 3.11, make and a package index, nothing else: .ci/setup fetches the rest
# into this folder. PYTHON=… chooses the interpreter, ARGS=… goes to the command of `sweep` or `test`. TORCH=cpu sets up
# PyTorch without CUDA, where download.pytorch.org can be reached; .venv keeps it.

# Programs are started by the environment's own python, never by `uv run`: Ray would build an environment per worker.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0
export PYTHON TORCH
python := .venv/bin/python
ready := .venv/.ready$(TORCH:%=-torch-%)
ready-dev := .venv/.ready-dev
uv = $$(command -v uv || echo .uv/bin/uv)
pytest := $(python) -m pytest --dist loadfile --no-loadscope-reorder --max-worker-restart 0
STUDY ?= quickstart
NAME ?= $(basename $(notdir $(STUDY)))

.DEFAULT_GOAL := help
.PHONY: help env env-dev sweep results test test-all check docs drill audit clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

env: $(ready) ## set up .venv from uv.lock (TORCH=cpu: PyTorch without CUDA)

env-dev: $(ready-dev) ## add what tests and checks need; the targets below do so themselves

sweep: $(ready) ## run a study, print its best trials, write its report (STUDY=quickstart NAME=… ARGS=…)
	$(python) launch.py sweep $(STUDY) --name $(NAME) $(ARGS)
	$(python) launch.py best $(NAME)
	$(python) launch.py report $(NAME)

results: $(ready) ## write docs/results.md from results/published
	$(python) -m analysis results $(ARGS)

test: check ## run the checks and the everyday tests: all but `slow` (ARGS=…)
	$(pytest) -n 2 -m "not slow" $(ARGS)

# Slow tests wait for half of their time: three processes keep two cores busy (tests/support/scheduling.py).
test-all: check ## run the checks and every test: faults, drill and the large report too (ARGS=…)
	$(pytest) -n 3 $(ARGS)

check: $(ready-dev) ## check lint, format, types and import contracts
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	.venv/bin/lint-imports --no-logo

docs: ## build the documentation into build/site
	@sh .ci/setup docs
	NO_MKDOCS_2_WARNING=1 build/docs-env/bin/mkdocs build --strict --quiet
	@echo build/site/index.html

drill: $(ready-dev) ## simulate three hosts, a network partition and a killed host (root, Debian packages: docs/cluster.md)
	$(python) -m tests.drill.drill

audit: $(ready) ## list known vulnerabilities of the packages in uv.lock (queries osv.dev)
	$(uv) audit --frozen

clean: ## remove the environment and every cache; results stay
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build/docs-env build/bundle-env build/site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What tests need stays in .venv once it is there.
$(ready): pyproject.toml uv.lock .ci/setup
	@sh .ci/setup $(if $(wildcard $(ready-dev)),,--no-dev)
	@touch $@

$(ready-dev): pyproject.toml uv.lock .ci/setup
	@sh .ci/setup
	@touch $(ready) $@
