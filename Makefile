# `make sweep` and `make test` need python3 ≥ 3.11, make and a package index, nothing else: .ci/setup fetches the rest
# into this folder. PYTHON=… chooses the interpreter, ARGS=… goes to the command of `sweep` or `test`.

# Programs are started by the environment's own python, never by `uv run`: Ray would build an environment per worker.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV := 0
export PYTHON
python := .venv/bin/python
ready := .venv/.ready
STUDY ?= quickstart

.DEFAULT_GOAL := help
.PHONY: help env sweep test check drill audit clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

env: $(ready) ## set up .venv from uv.lock

sweep: $(ready) ## run a study, print its best trials, write its report (STUDY=quickstart ARGS=…)
	$(python) launch.py sweep $(STUDY) $(ARGS)
	$(python) launch.py best $(STUDY)
	$(python) launch.py report $(STUDY)

test: check ## check, then every test (ARGS=…)
	$(python) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(ARGS)

check: $(ready) ## lint, format, types, import contracts
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	.venv/bin/lint-imports --no-logo

drill: $(ready) ## three hosts on this machine, a cut link, a killed host (root, Debian packages: docs/cluster.md)
	$(python) tests/drill/drill.py

audit: $(ready) ## known vulnerabilities of what uv.lock names (asks osv.dev)
	$$(command -v uv || echo .uv/bin/uv) audit --frozen

clean: ## remove the environment and every cache; results stay
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(ready): pyproject.toml uv.lock .ci/setup
	@sh .ci/setup
	@touch $@
