# What people do with this project. `make` alone lists it.
#
# Everything runs in .venv, which is made when it is missing and brought up to date when
# pyproject.toml changes. Choose another Python with `make PYTHON=python3.13 ...`.

VENV ?= .venv
PORT ?= 8000
ARGS ?=
JOBS ?= 5
COVER ?=
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# Tests start hundreds of processes. Without bytecode each would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=

BIN := $(abspath $(VENV))/bin
SHOWCASE := cd examples/showcase && $(BIN)/python manage.py
STUDIO := cd examples/studio && $(BIN)/python manage.py
FREE_PORT = $(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
	{ echo "Port $(PORT) is not free. Choose another: make $@ PORT=8001"; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo demo-cluster studio test test-all coverage test-measured test-unmeasured coverage-report check client docs walk bench e2e screenshots clean

help: ## List what you can do
	@echo "Usage: make <target>"
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1\t/' | expand -t 16

demo: $(VENV)/.installed-demo ## Start the showcase (another port: PORT=8001)
	@$(FREE_PORT)
	@$(SHOWCASE) migrate --verbosity 0
	@echo
	@echo "  The showcase:    http://localhost:$(PORT)/"
	@printf '  '; $(SHOWCASE) create_demo
	@echo "  Second person:   open the same URL in a private window or in another browser,"
	@echo "                   and sign in there with the other account."
	@echo "  Stop:            Ctrl-C"
	@echo
	@$(SHOWCASE) runserver $(PORT)

demo-cluster: $(VENV)/.installed-demo $(VENV)/.installed-redis ## Start it as a cluster: two servers, a worker, nginx and Redis
	@$(BIN)/python examples/showcase/cluster.py $(PORT)

studio: $(VENV)/.installed-studio $(if $(REDIS),$(VENV)/.installed-redis) ## Start the studio, with background tasks (REDIS=1: two workers, on Redis)
ifdef REDIS
	@$(BIN)/python examples/studio/cluster.py $(PORT)
else
	@$(FREE_PORT)
	@$(STUDIO) migrate --verbosity 0
	@echo
	@echo "  The studio:      http://localhost:$(PORT)/"
	@printf '  '; $(STUDIO) create_demo
	@echo "  Stop:            Ctrl-C"
	@echo
	@$(STUDIO) runserver $(PORT)
endif

test: $(VENV)/.installed-test ## Run the tests (choose some: ARGS="-k chat"; one at a time: JOBS=0)
	$(BIN)/python $(COVER) -m pytest -n $(JOBS) --dist worksteal -m "not slow and not e2e" $(ARGS)

test-all: $(VENV)/.installed-test ## Run those that take long, too; the browser's are in e2e
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not e2e" $(ARGS)

# The tests that are to run every line of src. The others try the whole.
MEASURED := tests/unit tests/conformance/tasks

coverage: $(VENV)/.installed-test ## List what of src the unit tests miss; pages in htmlcov
	$(BIN)/python -m coverage erase
	$(MAKE) test-measured
	$(MAKE) coverage-report || { $(BIN)/python -m coverage html --quiet --fail-under=0; exit 1; }

test-measured: # a part of `make test`; tells what of src it runs
	$(MAKE) test COVER="-m coverage run" ARGS='$(if $(filter tests/%,$(ARGS)),,$(MEASURED)) $(ARGS)'

test-unmeasured: # the rest of it
	$(MAKE) test ARGS='$(addprefix --ignore=,$(MEASURED)) $(ARGS)'

coverage-report: # of what was measured, once or several times
	$(BIN)/python -m coverage combine --quiet --append
	$(BIN)/python -m coverage report

check: $(VENV)/.installed-dev ## Check style, types, import directions and Django projects
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --package examples.postgres_layer
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/typecheck
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m django check --fail-level WARNING
	$(SHOWCASE) check --fail-level WARNING
	$(SHOWCASE) makemigrations --check --dry-run
	$(STUDIO) check --fail-level WARNING
	$(STUDIO) makemigrations --check --dry-run

client: ## Build the browser client and check its types (needs Node.js and npm)
	cd client && npm install --silent --no-audit --no-fund --no-package-lock && \
		$(if $(CI),,npm run --silent build &&) npm run --silent check

docs: $(VENV)/.installed-docs ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

walk: $(VENV)/.installed-test ## List anew which modules a message enters, in the documentation
	$(BIN)/python -m benchmarks.walk --write

bench: $(VENV)/.installed-test ## Compare the speed with other stacks, side by side
	$(BIN)/python -m benchmarks $(ARGS)

e2e: $(VENV)/.installed-test ## Run the browser tests (Chromium); screenshots in test-results
	$(BIN)/python -m pytest -n $(if $(filter 0,$(JOBS)),0,3) --dist loadfile -m e2e $(if $(filter tests/%,$(ARGS)),,tests/e2e tests/docs/test_docs.py) $(ARGS)

screenshots: ## Take the pictures of the documentation anew
	UPDATE_SCREENSHOTS=1 $(MAKE) e2e

clean: ## Remove everything that can be made again
	rm -rf .venv .venv-* .make build dist docs/_build test-results *.egg-info src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov
	rm -f examples/*/*.sqlite3 examples/*/*.sqlite3-*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: https://www.python.org"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# One stamp for each set of dependencies, named after its extra in pyproject.toml.
$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@
