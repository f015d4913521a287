# Everything a person or CI does with this repository. `make` alone lists it.
# PYTHON=/path/to/python3 makes the environment with that Python. Without it, the newest one that suits is used.
PYTHON ?=
# The executable contains this Python, which must be built as a shared library.
BINARY_PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys, sysconfig, venv; \
	sys.exit(sys.version_info < (3, 11) or not sysconfig.get_config_var("Py_ENABLE_SHARED"))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
# The executable has an environment of its own, as the one above has more than is needed to run (DESIGN 37).
BINARY_VENV := build/venv
BIN := $(VENV)/bin
SOURCES := minicloud sim tests proto packaging .ci
GENERATED := minicloud/wire/gen
DOCUMENTS := packaging/completions packaging/man

.DEFAULT_GOAL := help
.PHONY: help run test check sim bench binary dist test-binary proto docs lock format clean drive-binary \
	run-environment dev-environment binary-environment
# These variables may be set for other programs. With the last one, each of the thousand processes that the tests
# start would compile its sources anew.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort

# An interrupted dev cluster prints a line of its own. make gets the Ctrl-C too, and prints none if the recipe ends
# with 0.
run: run-environment ## Start a control plane and three workers on loopback; Ctrl-C ends them
	@interrupted=; trap 'interrupted=yes' INT; \
		"$(BIN)/python" -m minicloud dev || { code=$$?; [ -n "$$interrupted" ] || exit $$code; }

test: dev-environment ## The whole suite
	@PYTHONUTF8=1 "$(BIN)/python" -m pytest

check: dev-environment ## Format, lint, types, layers, generated code up to date
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/mypy packaging packaging/minicloud.spec .ci/stranger.py
	$(BIN)/python -m pytest -q -n0 -p no:cacheprovider tests/test_layers.py
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
		$(BIN)/python proto/generate.py "$$tmp" && diff -r --exclude=__pycache__ "$$tmp" $(GENERATED) \
		|| { echo "generated code is out of date: run 'make proto' and commit the result" >&2; exit 1; }
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
		$(BIN)/python packaging/docs.py "$$tmp" && for each in $(DOCUMENTS); do diff -r "$$tmp/$${each##*/}" $$each || exit 1; done \
		|| { echo "manual pages or completions are out of date: run 'make docs' and commit the result" >&2; exit 1; }
	@$(BIN)/minicloud-sim --show format | diff - docs/scenarios.md \
		|| { echo "docs/scenarios.md is out of date: run 'make docs' and commit the result" >&2; exit 1; }

sim: run-environment ## The simulator: the standing set, every scenario at depth wire, 200 seeds of swarm
	@$(BIN)/minicloud-sim
	@$(BIN)/minicloud-sim --workers 24 --depth wire \
		$(addprefix --scenario ,$(basename $(notdir $(wildcard sim/scenario/builtin/*.toml))))
	@$(BIN)/minicloud-sim --scenario swarm --seeds 1..200 --workers 50

bench: dev-environment ## Every figure DESIGN.md quotes, measured here and now
	@$(BIN)/python -m tests.bench

binary: binary-environment ## Build dist/minicloud, the one file to download, with its sums and what is inside
	@$(BINARY_VENV)/bin/python packaging/build_binary.py

dist: binary ## Put the executable and all that belongs to it into one archive in dist/
	@$(BINARY_VENV)/bin/python packaging/make_dist.py

test-binary: dist ## Drive the built executable, by the tests of processes and some of its own
	@$(MAKE) --no-print-directory drive-binary

drive-binary: dev-environment
	@MINICLOUD_EXECUTABLE="$(CURDIR)/dist/minicloud" PYTHONUTF8=1 "$(BIN)/python" -m pytest tests/packaged $(BINARY_TESTS)
# BINARY_TESTS=tests/integration runs all tests of processes. The default is the tests of a process on its machine, of
# its files and of the parts inside it. The others are about the network and the disk, where the executable runs the
# code that the suite has tested.
BINARY_TESTS ?= $(patsubst %,tests/integration/test_%.py,ctrl_c dev ending health operators \
	service_manager simulator standard_services starting unread_log)

proto: dev-environment ## Generate minicloud/wire/gen from proto/
	$(BIN)/python proto/generate.py $(GENERATED)

docs: dev-environment ## Generate the manual pages and shell completions in packaging/, and docs/scenarios.md
	$(BIN)/python packaging/docs.py packaging
	$(BIN)/minicloud-sim --show format > docs/scenarios.md

format: dev-environment ## Format and apply safe lint fixes
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lock: dev-environment ## Resolve pyproject.toml again into requirements/*.txt, hashes and no addresses
	$(BIN)/uv pip compile pyproject.toml --group build $(LOCK_FLAGS) -o requirements/run.txt
	$(BIN)/uv pip compile pyproject.toml --group binary --constraint requirements/run.txt $(LOCK_FLAGS) -o requirements/binary.txt
	$(BIN)/uv pip compile pyproject.toml --group dev $(LOCK_FLAGS) -o requirements/dev.txt
LOCK_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## Remove what these targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +

run-environment:
	@packaging/environment.sh "$(VENV)" run "$(PYTHON)"

dev-environment:
	@packaging/environment.sh "$(VENV)" dev "$(PYTHON)"

binary-environment:
	@test -n "$(BINARY_PYTHON)" || { echo "the executable needs a Python 3.11 or newer that is built with --enable-shared: install one, or say make binary BINARY_PYTHON=/path/to/python3" >&2; exit 1; }
	@packaging/environment.sh "$(BINARY_VENV)" binary "$(BINARY_PYTHON)"
