PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TORCH := $(shell grep '^torch==' requirements.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all pictures lint types build clean

help:  ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(VENV)/demo.stamp  ## open the demo page (installs what it needs the first time)
	$(BIN)/python app.py

test: $(VENV)/test.stamp  ## run the tests, style and types among them (installs what it needs the first time)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow" $(PYTEST)

test-all: $(VENV)/test.stamp  ## the same with the slow tests: long clips, training, many visitors
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST)

pictures: $(VENV)/test.stamp  ## make the pictures of the page in README and docs anew (needs chromium)
	AEHUB_REGENERATE=1 AEHUB_BROWSER=required $(BIN)/python -m pytest tests/browser/test_pictures.py

lint: $(VENV)/test.stamp  ## ruff over everything
	$(BIN)/ruff check .

types: $(VENV)/test.stamp  ## mypy over the package
	$(BIN)/mypy

build: $(VENV)/test.stamp  ## build the wheel and the source archive into dist/
	$(BIN)/python -m build --no-isolation

clean:  ## remove what was installed and built
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AEHub needs Python 3.11 or newer; set PYTHON=... to one.")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch goes first and pinned: resolved among the others it may come as a far larger build.
$(VENV)/demo.stamp: requirements.txt $(VENV)/venv.stamp
	$(PIP) $(TORCH)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(VENV)/demo.stamp
	$(PIP) --constraint requirements.txt --editable '.[dev]'
	@touch $@
