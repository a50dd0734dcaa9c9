# make demo   the whole workflow on data that ships with a package; ends with the path of a PDF and what it found
# make test   every test
# make lint   formatting, style, types, workflow lint
# make docs   the documentation as a site, in build/site
# Everything runs in a virtual environment of its own, .venv, with the versions of requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
INSTALLED := .venv/installed

.PHONY: demo test lint format docs lock bench-kernels bench-solver clean

demo: $(INSTALLED)
	snakemake --profile default results/demo_scaling.pdf

# Threads that wait by spinning, those of BLAS, OpenMP and XLA, take the cores of the other processes; and what was
# compiled once is read from then on.
test: export OPENBLAS_THREAD_TIMEOUT = 4
test: export OMP_WAIT_POLICY = passive
test: export NPROC = 1
test: export PYTHONDONTWRITEBYTECODE =
test: $(INSTALLED)
	# A file of tests stays in one process, so that what its tests share is made once; the longest files come first.
	# More processes than the two cores that this is timed on: those on batch systems wait for most of their time.
	python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy

format: $(INSTALLED)
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

# A warning, as of a link to nowhere, ends it. The tests build it as well.
docs: $(INSTALLED)
	mkdocs build
	@echo "$(CURDIR)/build/site/index.html"

bench-kernels: $(INSTALLED)
	python benchmarks/kernels.py $(ARGS)

bench-solver: $(INSTALLED)
	python benchmarks/solver.py $(ARGS)

# The lock holds all that neural-tangents needs here, which is less than what it asks for: hence --no-deps.
$(INSTALLED): requirements.lock pyproject.toml setup.py $(wildcard src/neural_kernels/*/native/*.cpp src/neural_kernels/*/native/*.h)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Needs uv (https://docs.astral.sh/uv); run after a change of the dependencies in pyproject.toml. Every extra but cuda,
# whose compiler of 80 MB only machines with NVIDIA's cards need.
lock:
	uv pip compile pyproject.toml $(addprefix --extra ,workflow mpi tuning molecules reference docs dev) --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --output-file requirements.lock

clean:
	rm -rf .venv build .snakemake
