# What a newcomer types: `make run`, `make test`, `make ui`, `make serve`. Everything else is `langmill --help`.
#
# .venv is made from requirements.lock on the first call, and again only when the lock or pyproject.toml changes; what tests
# and checks need besides is in requirements-dev.lock.

.SILENT:
.DELETE_ON_ERROR:
.PHONY: help run test check format ui serve lock setup

PYTHON ?= python3
BIN := .venv/bin
SETUP_LOG := .langmill/logs/setup.log
PIP = $(BIN)/python -m pip install --disable-pip-version-check --no-compile
FREEZE = .langmill/lock-venv/bin/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+cpu$$//'
UV = $(BIN)/uv pip install --native-tls --no-progress --python $(BIN)/python
# `make run RECIPES="reviews-lm"`, `make test ARGS="-m unit"`
RECIPES ?=
ARGS ?=

help:
	echo "make run     make the default models, from raw text to registered versions (RECIPES=\"name ...\" for others)"
	echo "make test    run every test (ARGS=\"-m unit\" for some)"
	echo "make ui      open the pages of MLflow and Prefect"
	echo "make serve   serve the champions over HTTP"
	echo "make check   style, lint, types and import rules"
	echo "make format  write the code in the one style"
	echo "make lock    renew both lock files from pyproject.toml"

# Most tests wait for one process at a time, so two run side by side; those of one file stay together. Three on two cores
# took longer (16:02 instead of 15:27): what they wait for is computed on the same cores.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

# `exec` leaves no shell in between, so that Ctrl-C reaches the command itself.
run: $(BIN)/.installed
	exec $(BIN)/langmill run $(RECIPES)

test: $(BIN)/.installed-dev
	exec $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

ui: $(BIN)/.installed
	exec $(BIN)/langmill ui

serve: $(BIN)/.installed
	exec $(BIN)/langmill serve

check: $(BIN)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(BIN)/.installed-dev

# Where this is set, every process would compile again what it imports (15 s for the large libraries).
unexport PYTHONDONTWRITEBYTECODE

# pip brings torch, because it alone sees a wheel that the machine's owner provides; uv brings the other 240 packages, in a
# sixth of pip's time, and pip stands in where uv can't reach the index. Nothing is byte-compiled ahead: Python compiles what
# it imports. The stamp is the last thing written, so an installation that failed is tried again.
$(BIN)/.installed: requirements.lock pyproject.toml
	mkdir -p $(dir $(SETUP_LOG))
	command -v git >/dev/null || { echo "Langmill needs git; install it and run the same command again." >&2; exit 1; }
	command -v $(PYTHON) >/dev/null || { \
	  echo "Langmill needs Python 3.11 or newer, but there is no $(PYTHON); install it, or name one: make run PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Langmill needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make run PYTHON=python3.12" >&2; exit 1; }
	echo "Installing (about a minute, once); the details go to $(SETUP_LOG) ..."
	rm -f $@
	{ test -x $(BIN)/python || $(PYTHON) -m venv .venv; } >$(SETUP_LOG) 2>&1 || { \
	  rm -rf .venv; \
	  echo "$(PYTHON) -m venv failed (on Debian and Ubuntu it needs the package python3-venv); see $(SETUP_LOG)." >&2; exit 1; }
	{ $(PIP) $$(grep -E '^(torch|uv)==' requirements.lock) && \
	  { $(UV) -r requirements.lock || $(PIP) -r requirements.lock; } && \
	  { $(UV) --no-deps --no-build-isolation -e . || $(PIP) --no-deps --no-build-isolation -e .; } ; } \
	  >>$(SETUP_LOG) 2>&1 || { \
	  echo "The installation failed: $$(grep -aiE '^ *(ERROR|error|×)' $(SETUP_LOG) | tail -n 1). The rest is in $(SETUP_LOG); run the same command again." >&2; \
	  exit 1; }
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed requirements-dev.lock
	echo "Installing what tests and checks need (seconds, once) ..."
	rm -f $@
	{ $(UV) --no-deps -r requirements-dev.lock || $(PIP) --no-deps -r requirements-dev.lock; } >>$(SETUP_LOG) 2>&1 || { \
	  echo "The installation failed: $$(grep -aiE '^ *(ERROR|error|×)' $(SETUP_LOG) | tail -n 1). The rest is in $(SETUP_LOG); run the same command again." >&2; \
	  exit 1; }
	touch $@

# A fresh environment resolves pyproject.toml anew: the packages that running needs first, then the others. torch stands without the suffix of its processor build (+cpu), so that
# the lock serves machines with and without a GPU.
lock:
	rm -rf .langmill/lock-venv
	$(PYTHON) -m venv .langmill/lock-venv
	.langmill/lock-venv/bin/python -m pip install --quiet --no-compile 'setuptools>=77' 'uv>=0.5' -e .
	grep '^#' requirements.lock >requirements.lock.new
	$(FREEZE) >>requirements.lock.new
	.langmill/lock-venv/bin/python -m pip install --quiet --no-compile -c requirements.lock.new -e '.[dev,bench,export]'
	grep '^#' requirements-dev.lock >requirements-dev.lock.new
	$(FREEZE) | grep -vxFf requirements.lock.new >>requirements-dev.lock.new
	rm -rf .langmill/lock-venv
	mv requirements.lock.new requirements.lock
	mv requirements-dev.lock.new requirements-dev.lock
	echo "requirements.lock and requirements-dev.lock are renewed; run make test, then commit them."
