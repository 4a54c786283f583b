# Every target does its own set-up in .venv; all that is needed is Python >= 3.10 and a C compiler.
#   make demo      train on real speech data, test accuracy and a plot
#   make test      build and run the tests
#   make docs      the documentation's site

PYTHON ?= python3
BIN := .venv/bin
SOURCES := setup.py pyproject.toml $(wildcard lstmcore/*.p[yx][xdi] lstmcore/*.h)
RUNTIME = $(shell gcc -print-file-name=$(1))
FREE_THREADED ?= $(firstword $(shell command -v python3.14t python3.13t))

.PHONY: demo test sweep lint bench docs linkcheck
.PHONY: test-debug test-freethreaded test-embedded dist clean

demo: .venv/installed
	$(BIN)/python examples/japanese_vowels.py

test: .venv/installed
	$(BIN)/pytest -n auto

# Random networks and hostile files by the thousand, runs killed at random moments: see
# tests/sweep.py, tests/kill_runs.py.
sweep: .venv/installed
	$(BIN)/python tests/sweep.py networks
	$(BIN)/python tests/sweep.py files
	$(BIN)/python tests/sweep.py torch
	$(BIN)/python tests/sweep.py keras
	$(BIN)/python tests/kill_runs.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	PATH=$(CURDIR)/$(BIN):$$PATH cython-lint lstmcore bench tests
	$(BIN)/mypy
	$(BIN)/python .ci/check_text.py

# The peers have an environment of their own: .venv-bench/bin/python bench/run.py --full
bench: .venv-bench/installed
	.venv-bench/bin/python bench/run.py --quick

# The site, in build/docs/html. A warning is an error: a link to nowhere, a public name without a
# page, an example of the gallery that does not run.
SPHINX = .venv-docs/bin/sphinx-build -W --keep-going -n -q -d build/docs/doctrees

docs: .venv-docs/installed
	rm -rf docs/api/generated docs/api/backreferences docs/gallery build/docs/html
	$(SPHINX) -b html docs build/docs/html
	@echo "build/docs/html/index.html"

# The links to other sites, which needs the net.
linkcheck: .venv-docs/installed
	$(SPHINX) -D plot_gallery=0 -b linkcheck docs build/docs/links

# The same tests on a build with bounds checks and sanitizers. Python itself leaks by design; the
# compiled packages of tests/ecosystem are not ours to check.
test-debug: .venv/installed
	rm -rf build/debug
	CC=gcc LSTMCORE_DEBUG=1 $(BIN)/pip install --quiet --no-deps --target build/debug/site .
	LD_PRELOAD="$(call RUNTIME,libasan.so) $(call RUNTIME,libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
	LSTMCORE_DEBUG=1 PYTHONPATH=$(CURDIR)/build/debug/site PYTHONSAFEPATH=1 \
	$(BIN)/pytest -n auto --ignore=tests/ecosystem

# The same tests on a Python without a global lock, for which few packages have wheels.
test-freethreaded:
	@test -n "$(FREE_THREADED)" || { echo "no python3.14t, python3.13t"; exit 1; }
	$(FREE_THREADED) -m venv .venv-freethreaded
	.venv-freethreaded/bin/pip install --quiet --prefer-binary --editable ".[parallel]" \
		pytest hypothesis mpmath
	.venv-freethreaded/bin/pytest --ignore=tests/ecosystem

test-embedded: .venv/installed
	$(BIN)/pytest -m embedded tests/embedded

dist: .venv/installed
	rm -rf dist
	$(BIN)/pip install --quiet build
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf build dist .venv .venv-bench .venv-docs .venv-freethreaded .nox *.egg-info
	rm -rf docs/api/generated docs/api/backreferences docs/gallery docs/sg_execution_times.rst
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -f lstmcore/_*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv-bench/installed: bench/requirements.txt $(SOURCES)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --requirement bench/requirements.txt
	.venv-bench/bin/pip install --quiet --editable .
	touch $@

.venv-docs/installed: $(SOURCES)
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --editable ".[docs]"
	touch $@

# pip is quiet about warnings of the build, so what was built is shown.
.venv/installed: $(SOURCES)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[demo,test,lint]"
	$(BIN)/python -c "import lstmcore; lstmcore.show_config()"
	touch $@
