# The commands of this repository; CI calls only these. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
# Two workers of one thread each: on two cores that is as fast as it gets, and no test waits for another's spinning threads.
TEST_WORKERS ?= 2
PYTEST_FLAGS ?=
NORIA_DEMO_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test test-long check format bench docs lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## make .venv and install what `noria` needs, as locked
	@$(PYTHON) requirements/install.py demo

install-dev: ## the same, with what tests and checks need
	@$(PYTHON) requirements/install.py dev

demo: install ## run the whole wheel on the embedded model; NORIA_DEMO_FLAGS="--no-serve" passes flags on
	@$(BIN)/noria demo $(NORIA_DEMO_FLAGS)

test: install-dev ## run the tests (those under ten seconds each)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "not slow" $(PYTEST_FLAGS)

test-long: install-dev ## run all tests, also the long ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --timeout 3600 $(PYTEST_FLAGS)

check: install-dev ## format, lint, types, generated docs, lock files; all of them, then the verdict
	@status=0; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/pyright || status=1; \
	$(BIN)/python docs/build.py --check || status=1; \
	$(BIN)/python requirements/lock.py --check || status=1; \
	[ $$status = 0 ] && echo "All checks passed." >&2; exit $$status

format: install-dev ## format and repair what can be repaired
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: install ## say which measurements there are and how to run one
	@grep -l '"""' benchmarks/*.py | while read -r f; do printf '  %s %s\n' "$(BIN)/python" "$$f"; done

docs: install-dev ## renew the generated parts of docs/
	@$(BIN)/python docs/build.py

lock: install-dev ## renew requirements/*.txt from what is installed in .venv
	@$(BIN)/python requirements/lock.py

clean: ## remove .venv and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
