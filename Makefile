# Two commands: `make demo` and `make test`. Everything is installed into .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo-out

.PHONY: demo test check setup setup-dev format benchmark clean

$(VENV)/.core: pyproject.toml setup.py $(wildcard ehrsynth/compiled/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[learn,dev]'
	touch $@

setup: $(VENV)/.core  ## Install what generates, exports and validates.

setup-dev: $(VENV)/.dev  ## Install also what learns and tests.

demo: setup  ## Generate 1,000 patients from the shipped model, validate them, show one.
	rm -rf $(DEMO)
	$(BIN)/ehrsynth models list
	$(BIN)/ehrsynth generate -p 1000 -s 7 --history-years 5 -o $(DEMO) -f fhir-ndjson -f csv
	$(BIN)/ehrsynth validate $(DEMO)/csv
	$(BIN)/ehrsynth validate $(DEMO)/fhir-ndjson --sample 100
	$(BIN)/ehrsynth show $(DEMO)/csv --patient 1

test: setup-dev check  ## Everything that .ci/run runs.
	$(BIN)/python -m pytest -n auto --dist loadfile

check: setup-dev  ## Style, types, floors.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: setup-dev  ## The figures of the README.
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
