# make book          run the miniature study and render the book: _build/html/index.html
# make book TIER=x   the same at another size (config/tiers.yaml); CORES=n runs n notebooks side by side
#                    DATA_ROOT=folder names the released generations and benchmarks, DOWNLOAD=True fetches them there
# make test          all tests
# make bench         speed and memory of the slow parts, against alternatives
# make base          pre-train the miniature base again (about ten minutes); it ships with the package
# make lab           open JupyterLab on the notebooks
# make clean         remove everything that was built, but not the environment

TIER ?= mini
CORES ?= 2
PYTHON ?= python3
DATA_ROOT ?= data
DOWNLOAD ?= False
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Tokenizers warn about forks, and nothing here may ask a model hub unless a notebook names a hub id.
export TOKENIZERS_PARALLELISM := false

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

.PHONY: book test bench base lab clean
.DEFAULT_GOAL := book

.venv/installed: requirements.lock pyproject.toml
	@echo "Installing the environment into .venv"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Snakemake's lock is not used: a killed run would leave it behind. What a killed run left half-written is made again.
OPTIONS := --cores $(CORES) --config tier=$(TIER) data_root=$(DATA_ROOT) download=$(DOWNLOAD) --nolock --rerun-incomplete --quiet host reason rules
NOISE := Select jobs|Execute |Assuming|Building DAG|Using shell|Provided cores|Rules claiming|Finished jobid|\[|$$
SHORTER := grep --line-buffered -v -E '^($(NOISE))'

book: .venv/installed
	@snakemake studied $(OPTIONS) 2>&1 | $(SHORTER)
	@snakemake all $(OPTIONS) 2>&1 | $(SHORTER)

test: .venv/installed
	@ruff check --quiet . && ruff format --quiet --check .
	@pytest

bench: .venv/installed
	@python tests/bench.py

base: .venv/installed
	papermill -k python3 notebooks/runs/pretrain.ipynb _build/pretrain.ipynb -p out _build/pretrain
	rm -rf src/mathtransfer/miniature/base && cp -r _build/pretrain src/mathtransfer/miniature/base

lab: .venv/installed
	@jupyter lab notebooks

clean:
	rm -rf _build .snakemake conf.py
