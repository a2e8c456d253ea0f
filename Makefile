# Two commands: `make demo` shows the whole thing on real input, `make test` runs every check.
# Both make .venv from the lock in requirements/ first; a change of the lock brings it up to date.

.PHONY: help demo test clean
help:
	@echo 'make demo   install what is pinned into .venv, then run the main job on a real recording'
	@echo 'make test   the same .venv with the test tools, then lint, types, imports, wheel and tests'
	@echo 'make clean  remove .venv and caches (never a ledger)'

ifndef PYTHON
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
endif
ifeq ($(strip $(PYTHON)),)
ifneq ($(filter demo test,$(MAKECMDGOALS)),)
$(error needs Python 3.11, 3.12 or 3.13: put it on PATH as python3, or name it with PYTHON=/where/it/is)
endif
endif

# Names of the marks say what they stand for: another interpreter or folder makes .venv anew,
# another lock or entry point installs into it again. What the tests need contains what the demo needs.
DIGEST := import hashlib, sys; h = hashlib.sha256()
ENVIRONMENT := $(shell $(PYTHON) -c '$(DIGEST); h.update(repr((sys.argv[1], sys.version, sys.base_prefix)).encode()); \
	print(h.hexdigest()[:16])' '$(CURDIR)')
LOCK := $(shell $(PYTHON) -c '$(DIGEST); [h.update(open(p, "rb").read()) for p in sys.argv[1:]]; \
	print(h.hexdigest()[:16])' pyproject.toml requirements/demo.txt requirements/runtime.txt requirements/test.txt)
MADE := .venv/.made-$(ENVIRONMENT)
INSTALL := .venv/bin/python -m pip --quiet --quiet --disable-pip-version-check install

demo: .venv/.runtime-$(LOCK)
	@.venv/bin/tally demo

# Every check runs even after one has failed. The tests come last, so that the last line is pytest's summary.
test: .venv/.test-$(LOCK)
	@failed=0; \
	.venv/bin/python -m nox --tags checks || failed=1; \
	.venv/bin/python -m pytest --numprocesses auto --dist loadfile --max-worker-restart 1 || failed=1; \
	exit $$failed

$(MADE):
	@echo 'making .venv with $(PYTHON)'
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.runtime-$(LOCK) .venv/.test-$(LOCK): .venv/.%-$(LOCK): $(MADE)
	@echo 'installing requirements/$*.txt (about a minute the first time)'
	@rm -f .venv/.$*-*
	@$(INSTALL) --require-hashes -r requirements/$*.txt
	@$(INSTALL) --require-hashes --no-deps -r requirements/demo.txt
	@$(INSTALL) --no-deps --no-build-isolation --no-index --editable .
	@touch $@ .venv/.runtime-$(LOCK)

clean:
	rm -rf .venv .nox .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
