# `make run` and `make test` do everything on a fresh machine with Python 3.11 and a C compiler.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
bin := $(VENV)/bin
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test lint clean

run: $(VENV)/installed
	$(bin)/python -m tl_keras.run cifar_ab $(ARGS)

test: $(VENV)/installed-test
	$(bin)/python -m pytest $(ARGS)

lint: $(VENV)/installed-test
	$(bin)/python -m ruff check .
	$(bin)/python -m ruff format --check .
	$(bin)/python -m mypy

$(VENV)/installed: setup.py requirements.txt
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(pip) -r requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	# A version of its own: the newest one may bring another CUDA along, which no test uses.
	$(pip) torch==2.13.0
	$(pip) --no-deps torchvision==0.28.0
	$(pip) -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
