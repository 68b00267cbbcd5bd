# `make run` and `make test` do everything on a fresh machine with Python 3.11 and a C compiler.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
bin := $(VENV)/bin

.PHONY: run test test-lowest lint clean

run: $(VENV)/installed
	$(bin)/python -m tl_keras.run cifar_ab $(ARGS)

test: $(VENV)/installed-test
	$(bin)/python -m pytest $(ARGS)

# The suite against the oldest versions that setup.py admits.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		--no-binary elasticdeform -e .[test]
	.venv-lowest/bin/python -m pytest $(ARGS)

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
	rm -rf $(VENV) .venv-lowest build dist *.egg-info
