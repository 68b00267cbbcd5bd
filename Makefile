# `make run` and `make test` do everything on a fresh machine with Python 3.11 and a C compiler.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
bin := $(VENV)/bin

.PHONY: run test lint clean

run: $(VENV)/installed
	$(bin)/python -m tl_keras.run cifar_ab $(ARGS)

test: $(VENV)/installed-test
	$(bin)/python -m pytest $(ARGS)

lint: $(VENV)/installed-test
	$(bin)/python -m ruff check .
	$(bin)/python -m ruff format --check .

$(VENV)/installed: setup.py requirements.txt
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(bin)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
