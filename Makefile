# `make run` needs Python 3.11 or newer and make, nothing else. Everything it installs lies in .venv.

VENV := .venv
BIN := $(VENV)/bin
# Measured on two cores: two test processes take three quarters of the time of one.
WORKERS ?= 2
# How long `make torture` takes.
MINUTES ?= 60
# Branch coverage of ralf_hub/ in per cent: below it `make test` fails.
COVERAGE_MIN ?= 85
ARGS ?=
# The last version for Node 18 and 20.
PRISM_VERSION := 5.14.2
PRISM := $(VENV)/prism/node_modules/.bin/prism

export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip --quiet
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check audit sbom fuzz contract connector-table format lint types bench bench-peers bench-guard fuzz-api torture docs lock clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || cat $(MAKEFILE_LIST)

run: $(VENV)/.run ## install and start the hub; options for `serve` in ARGS: make run ARGS="--port 9000"
	@exec $(BIN)/python -m ralf_hub serve --config ralf-hub.toml $(ARGS)

test: lint types ## everything that must pass: format, lint, types, all tests
	$(PYTEST) --cov --cov-report=term --cov-fail-under=$(COVERAGE_MIN) $(ARGS)

check: lint types audit ## the same without the journeys, which start real processes; asks for known vulnerabilities too
	$(PYTEST) -m "not journey" $(ARGS)

contract: $(VENV)/.dev $(PRISM) ## let Prism judge what the connectors send; needs Node
	RALF_HUB_PRISM=$(abspath $(PRISM)) $(BIN)/python -m pytest -n0 -rA tests/contract/test_prism.py $(ARGS)

connector-table: $(VENV)/.dev ## write down in docs/connectors.md what a run of the tests shows of every connector
	$(PYTEST) -q -p tests.connectors.table tests/connectors/test_every_action.py tests/journeys/test_one_object.py

audit: $(VENV)/.dev ## bandit over the code, and known vulnerabilities of the pinned versions where there is a network
	@$(MAKE) --no-print-directory $(VENV)/.audit || echo "audit: left out, its tools cannot be installed; is there a network?"
	@test ! -e $(VENV)/.audit || { set -ex; \
		$(BIN)/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml ralf_hub; \
		$(BIN)/python .ci/audit constraints.txt; }

sbom: $(VENV)/.audit ## the bill of materials of a release: dist/ralf-hub.cdx.json (CycloneDX)
	./.ci/sbom $(BIN)/python dist/ralf-hub.cdx.json

fuzz: $(VENV)/.fuzz ## 100,000 cases for every parser that strangers' bytes reach; renews docs/evidence/fuzz.md
	$(BIN)/python -m tests.fuzz --report docs/evidence/fuzz.md $(ARGS)

format: $(VENV)/.dev ## put the code into its form and mend what can be mended without thought
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## form and rules (ruff)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## types (mypy --strict)
	$(BIN)/python -m mypy

bench: $(VENV)/.dev ## the benchmarks, then docs/performance.md from their figures; a quick look: make bench ARGS=--short
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.page

bench-peers: $(VENV)/.dev ## the same job by Celery, Huey, procrastinate, Flask; installs what they need
	$(BIN)/python -m benchmarks.peers $(ARGS)
	$(BIN)/python -m benchmarks.page

bench-guard: $(VENV)/.dev ## fails where a request costs 15 % more CPU than committed; a new figure: ARGS=--renew
	@$(BIN)/python -m benchmarks.guard $(ARGS)

torture: $(VENV)/.dev ## kill, starve and mislead hubs for MINUTES=60 and write down what came of it; SEED= repeats a plan
	$(BIN)/python -m tests.torture --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) --report docs/evidence/torture.md $(ARGS)

fuzz-api: $(VENV)/.dev ## schemathesis on the whole API; its options in ARGS, ten minutes where left out
	$(BIN)/python -m tests.api.fuzzing $(or $(ARGS),--max-time 600 --max-examples 500)

docs: $(VENV)/.dev ## renew the pages that are made from the code, and build the guides into site/
	@set -e; for page in settings:config api:handlers commands:cli; do \
		$(BIN)/python -m "ralf_hub.$${page#*:}.reference" > "docs/$${page%:*}.md.new"; \
		mv "docs/$${page%:*}.md.new" "docs/$${page%:*}.md"; \
	done
	$(BIN)/python -m ralf_hub openapi > openapi.json.new && mv openapi.json.new openapi.json
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

lock: $(BIN)/python ## refresh constraints.txt: the newest versions the ranges allow
	./.ci/lock $(BIN)/python > constraints.txt.new && mv constraints.txt.new constraints.txt

clean: ## remove .venv and what the tools left behind; var/, the hub's data, stays
	rm -rf $(VENV) build dist site htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Each stamp says: what it names was installed after its prerequisites last changed.
$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing ralf-hub into $(VENV): this takes some seconds, once."
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(PRISM): | $(BIN)/python
	@command -v npm >/dev/null || { echo "Prism needs Node 18.20 or newer, with npm: https://nodejs.org" >&2; exit 1; }
	@echo "Installing Prism $(PRISM_VERSION) into $(VENV): this takes half a minute, once."
	@npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(VENV)/prism @stoplight/prism-cli@$(PRISM_VERSION)

# Groups of dependencies need a pip newer than the one that Python 3.11 brings.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing ralf-hub and its tools into $(VENV): this takes a minute, once."
	@$(PIP) install --constraint constraints.txt pip
	@$(PIP) install --constraint constraints.txt --editable . --group dev
	@touch $@ $(VENV)/.run

$(VENV)/.audit $(VENV)/.fuzz: $(VENV)/.%: $(VENV)/.dev
	@$(PIP) install --constraint constraints.txt --group $*
	@touch $@

$(BIN)/python:
	@./.ci/venv $(VENV) $(PYTHON)
