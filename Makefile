# make run · make test · make check · make bench are the interface; the other targets serve them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SECONDS ?= 600
COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"

.PHONY: help run setup test test-images soak proof faults check format bench bench-submit bench-web bench-streams bench-console lock clean
help:                ## list the targets
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

run: $(VENV)/ready   ## start Redis, the web server and a worker, in one log (PORT=8000)
	@$(BIN)/python deploy/laptop.py

setup: $(VENV)/ready ## only set up .venv, from the lock

# Most tests wait for other processes: six at a time keep two cores busy. Each of the six reads all test files: Python
# keeps what it has compiled of them.
test: $(VENV)/ready  ## run every test, except those of the images, six at a time; ARGS=tests/test_readme.py: one by one
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --ignore tests/images $(or $(ARGS),-n 6 --dist worksteal --durations 15)

test-images: $(VENV)/ready ## test both images and compose.yaml, as containers (needs Docker)
	@$(BIN)/python -m pytest tests/images $(ARGS)

faults: $(VENV)/ready ## measure the recovery from each fault, five times: benchmarks/faults.md (35 minutes)
	@$(BIN)/python benchmarks/faults.py

soak: $(VENV)/ready  ## run under random faults, account for every job, then run the slow tests (SECONDS=600)
	@$(BIN)/python -m tests.soak $(SECONDS)
	@MODEL_SECONDS=$(SECONDS) $(BIN)/python -m pytest --ignore tests/images --ignore tests/model/test_mutants.py -m slow

proof: $(VENV)/ready ## put faults into copies of the project, one by one: the tests of the queue find each (15 minutes)
	@$(BIN)/python -m pytest -m slow -n 3 --dist worksteal tests/model/test_mutants.py

check: $(VENV)/ready ## run ruff, mypy strict and import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(VENV)/ready  ## measure the worker beside its peers: benchmarks/results.md, waits.md
	@PYTHONPATH=. $(BIN)/python benchmarks/workers.py $(ARGS)
	@PYTHONPATH=. $(BIN)/python benchmarks/waits.py

bench-submit: $(VENV)/ready ## measure what it costs to submit, beside its peers: benchmarks/submitting.md
	@PYTHONPATH=. $(BIN)/python benchmarks/submitting.py

bench-web: $(VENV)/ready ## measure the web server beside others: benchmarks/serving.md
	@PYTHONPATH=. $(BIN)/python benchmarks/serving.py $(ARGS)

bench-streams: $(VENV)/ready ## measure POST /tasks beside 500 open event streams: benchmarks/streams.md
	@PYTHONPATH=. $(BIN)/python benchmarks/streams.py

bench-console: $(VENV)/ready ## measure the console with a million tasks: benchmarks/console.md
	@PYTHONPATH=. $(BIN)/python benchmarks/console.py

format: $(VENV)/ready ## let ruff fix what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock:                ## write requirements/*.txt from pyproject.toml (needs uv: pip install uv)
	@$(COMPILE) --all-extras --group app --group dev pyproject.toml -o requirements/dev.txt
	@$(COMPILE) -c requirements/dev.txt --extra web --extra files --extra client --group app pyproject.toml -o requirements/web.txt
	@$(COMPILE) -c requirements/dev.txt --extra files --extra client --group app pyproject.toml -o requirements/worker.txt

clean:               ## remove .venv, var/ and the caches
	rm -rf $(VENV) var .mypy_cache .pytest_cache .ruff_cache

$(VENV)/ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 …")'
	@test ! -L $(VENV) || { echo "$(VENV) is a link: --clear would empty the folder behind it"; exit 1; }
	@echo "Setting up $(VENV) from requirements/dev.txt (once; about a minute) …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.txt
	@touch $@
