# Mission Control. `make up` runs it, `make test` tests it. Settings: PORT, DATA_DIR, DEMO=0, and those of .env.example.
PYTHON ?= python3
# Processes of the test run.
WORKERS ?= 2

.PHONY: help up test bench venv clean

help:
	@echo 'make up      install what is needed and run the portal (PORT=8000 DATA_DIR=.data DEMO=1)'
	@echo 'make test    the whole test suite on services of its own (WORKERS=2)'
	@echo 'make bench   measure (needs wrk) and write docs/performance.md'
	@echo 'make clean   remove the virtual environment; data stay'

# The shell becomes the supervisor, so that make is its parent: whichever of them is killed, nothing stays behind.
up: venv
	@exec .venv/bin/python -m mission_control.embedded up

test: venv
	@exec .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

bench: venv
	@exec .venv/bin/python -m benchmarks $(BENCH)

# The installed lock is kept beside the environment: only a lock that differs, or an environment that does not run, is worth the time.
venv:
	@if ! cmp -s requirements.lock .venv/installed.lock || ! .venv/bin/python -c '' 2>/dev/null; then \
		sh deploy/install.sh '$(PYTHON)'; \
	fi

clean:
	rm -rf .venv
