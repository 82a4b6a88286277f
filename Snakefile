# Who runs before whom: one rule for each kind of run notebook, one for chapters and exercises, one for the book.
#
# The cells of the study (config/study.yaml) that a tier runs, and its sizes, come from the tier (config/tiers.yaml):
# `snakemake --config tier=smoke`. Every rule has its notebook and the package files that this notebook imports among its
# inputs, so that no page outlives the code that made it.

import json
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
import yaml
from snakemake.exceptions import WorkflowError

from mathtransfer import runs
from mathtransfer.claims import fresh
from mathtransfer.miniature import acceptance
from mathtransfer.pages import slides, starters
from mathtransfer.paper import survey
from mathtransfer.study import grid, record, timings

try:
    STUDY = grid.read_tier(config.get("tier", "mini"))
except ValueError as error:
    raise WorkflowError(str(error)) from None
TIER, CELLS, SIZES = STUDY.name, STUDY.cells, STUDY.sizes
KERNEL = config.get("kernel", "python3")
ROOT = f"_build/{TIER}"
EXECUTED, EVIDENCE = f"{ROOT}/executed", f"{ROOT}/evidence"
TASK_FILES = (".yaml", ".jsonl", ".py")
FULL = "_build/full"  # evaluations of the real models, whatever the tier

# The page of a kind of run shows the run of this name; rejection sampling is shown with a base as its own teacher.
EXAMPLE = max(CELLS)
SHOWN = {kind: EXAMPLE for kind in ("train", *grid.MEASURED, "report")} | {"rejection": CELLS[EXAMPLE].base}
RUN_PAGES = {f"notebooks/runs/{kind}": f"{EXECUTED}/runs/{kind}--{run}.ipynb" for kind, run in SHOWN.items()}


def manifests(kind, names, root=ROOT):
    return [f"{root}/runs/{kind}/{name}/manifest.json" for name in names]


def notebook(name):
    """A notebook and the package files behind it."""
    path = f"notebooks/{name}.ipynb"
    return [path, *map(str, runs.sources(Path(path)))]


def suite(name):
    """The task files of a suite, and the code and rows that they name themselves: no notebook imports these."""
    files = [path for path in Path("src/mathtransfer/benchmarks/suites", name).rglob("*") if path.suffix in TASK_FILES]
    return sorted(map(str, [*files, *Path("src/mathtransfer/benchmarks").glob("*.py")]))


def touched(name):
    """Snakemake compares small files by content; with this, a notebook that was only touched runs again too."""
    return Path(f"notebooks/{name}.ipynb").stat().st_mtime_ns


def base_of(run):
    """The base behind a run, which may be the base's own evaluation, as the run notebooks name it."""
    base = CELLS[run].base if run in CELLS else run
    return f"miniature/{base}" if grid.base_folder(base).is_relative_to(grid.SHIPPED) else str(grid.base_folder(base))


def model_of(run):
    return f"{ROOT}/runs/train/{run}/checkpoint" if run in CELLS else base_of(run)


def base_files(base):
    """What a base's model is made of, which the story of its pre-training is not; or that story, if it does not ship."""
    folder, story = grid.base_folder(base), ("log.csv", "manifest.json")
    if not folder.is_relative_to(grid.SHIPPED):
        return [f"{folder}/manifest.json"]
    return sorted(str(path) for path in folder.iterdir() if path.name not in story)


# Papermill starts at once if `make` has started the server of kernels/warm, and as always if not.
# It leaves a half-written notebook behind when it is killed, so the copy gets its name when it is whole.
WARM = f"{sys.executable} -I -S kernels/warm/warm.py"
PAPERMILL = (
    "echo '  {rule} {wildcards}: started'; SECONDS=0; rm -f {log}.memory; "
    "MATHTRANSFER_MEMORY={log}.memory OMP_NUM_THREADS={threads} PYTHONWARNINGS=ignore "
    "{WARM} -m papermill -k {KERNEL} --no-progress-bar {input.notebook[0]} {output.executed}.partial.ipynb -y {params.values:q} "
    "2> {log} || (cat {log} >&2; echo '  {rule} {wildcards}: failed'; exit 1) && mv {output.executed}.partial.ipynb {output.executed} "
    "&& echo \"  {rule} {wildcards}: done in $SECONDS s\""
)


rule all:
    input:
        f"{STUDY.html}/index.html",


# The chapters that look at models and tables; the other two join what these find.
STUDYING = [
    "on_and_off_policy",
    "one_objective",
    "index_by_hand",
    "pca_shift",
    "kl_and_rank_shift",
    "how_to_read_intervals",
    "published_tables",
    "published_claims",
    "index_under_the_microscope",
    "released_generations",
    "known_problems",
    "miniature_world",
    "protocol",
    "controlled_study",
    "elicitation_or_skill",
    "ablation",
    "price",
    "latent_drift",
    "token_drift",
    "forgetting",
    "paper_suite",
    "survey",
    "training_recipes",
]


# `make book` asks for this first and for everything afterwards: Snakemake compares evidence by content only between
# calls, and a chapter whose evidence has not changed shall not make the ledger run again.
rule studied:
    input:
        [f"{EXECUTED}/chapters/{name}.ipynb" for name in STUDYING],
        list(RUN_PAGES.values()),


# The authors' released generations, if the user has them; without them their chapter reads recorded results.
DATA_ROOT = config.get("data_root", "data")
RELEASED = [str(path) for path in sorted(Path(DATA_ROOT).glob("*/*")) if path.suffix in (".json", ".jsonl", ".csv")]
RECORDED = "results/released_generations.csv"

# Evaluations of the real models: recorded ones, and those that were run here.
SUITE, SUITE_PAPER = suite(SIZES["evaluate"]["suite"]), suite("paper")
SURVEYED = ["results/survey", f"{FULL}/runs/evaluate"]
SURVEY_RUNS = [f"{run}/manifest.json" for folder in SURVEYED for run in runs.finished(folder)]
MODELS = "config/models.yaml"

# `make survey`: the models that were asked for, and a file of parameters that shall differ from how they are asked.
KNOWN = {survey.folder_name(name): name for name in survey.read_models(MODELS)}
ASKED = [name for name in str(config.get("models") or "").split(";") if name]
DIFFERENT = yaml.safe_load(Path(config["settings"]).read_text()) if config.get("settings") else {}
if unknown := sorted(set(ASKED) - set(KNOWN.values())):
    raise WorkflowError(f"unknown model {unknown[0]!r}: expected one of {'; '.join(KNOWN.values())}")


rule survey:
    input:
        manifests("evaluate", map(survey.folder_name, ASKED), root=FULL),


def trained(run):
    """What an evaluation or a report reads of a model: the base's files, or the manifest of its training."""
    return manifests("train", [run]) if run in CELLS else base_files(run)


def training_needs(run):
    teacher = CELLS[run].taught_by
    return base_files(CELLS[run].base) + (manifests("train", [teacher]) if teacher else [])


def training_values(run):
    """The cell's parameters; a teacher that is a model goes by its folder or, if it is the base, by the base's name."""
    cell, own = CELLS[run], {"model": base_of(run), "label": CELLS[run].setting, "seed": CELLS[run].seed}
    if cell.parameters.get("teacher") == "base":
        own["teacher"] = base_of(run)
    if cell.taught_by:
        own["teacher"] = model_of(cell.taught_by)
    return cell.parameters | own


def drift_values(kind, run):
    common = {"model": model_of(run), "base": base_of(run), "evaluation": f"{ROOT}/runs/evaluate/{run}", "tier": TIER}
    return common | SIZES[kind]


# Bases that `make bases` pre-trains and that ship, and larger ones that a study pre-trains if it needs them.
BASES, BOUNDS, REJECTED = str(grid.BUILT), grid.read_bounds(), grid.read_rejected()
PRETRAINED = grid.read_bases() | REJECTED
SHIPPING = [base for base, values in grid.read_bases().items() if "hidden_size" not in values]

# Rule: the study's folder, the notebook, and, of the run's name, what it reads and its parameters besides `out`.
RUN_RULES = {
    "survey_model": (
        FULL,
        "evaluate",
        lambda run: SUITE_PAPER,
        lambda run: survey.evaluation(KNOWN[run], survey.read_models(MODELS)) | DIFFERENT,
    ),
    "train": (ROOT, "train", training_needs, training_values),
    "evaluate": (
        ROOT,
        "evaluate",
        lambda run: [*SUITE, *trained(run)],
        lambda run: {"model": model_of(run), "base": base_of(run), "tier": TIER, **SIZES["evaluate"]},
    ),
    "latent_drift": (
        ROOT,
        "latent_drift",
        lambda run: manifests("evaluate", [run]),
        lambda run: drift_values("latent_drift", run),
    ),
    "token_drift": (
        ROOT,
        "token_drift",
        lambda run: manifests("evaluate", [run]),
        lambda run: {**drift_values("token_drift", run), "seed": CELLS[run].seed},  # seeds shall not share random numbers
    ),
    "report": (
        ROOT,
        "report",
        lambda run: [*SUITE, *trained(run)],
        lambda run: {
            "base": base_of(run),
            "tuned": model_of(run),
            "suite": SIZES["evaluate"]["suite"],
            **SIZES["report"],
        },
    ),
    "rejection": (ROOT, "rejection", trained, lambda run: {"model": model_of(run), **SIZES["rejection"]}),
    "pretrain": (BASES, "pretrain", lambda run: [], lambda run: PRETRAINED[run]),
    "evaluate_base": (
        BASES,
        "evaluate",
        lambda run: [*SUITE, *manifests("pretrain", [run], root=BASES)],
        lambda run: {
            "model": f"{BASES}/runs/pretrain/{run}",
            "base": f"{BASES}/runs/pretrain/{run}",
            **SIZES["evaluate"],
            "split": "validation",
            "n": BOUNDS["questions"],
            "formats": dict.fromkeys(SIZES["evaluate"]["formats"], BOUNDS["questions"]),
        },
    ),
}


def for_papermill(values):
    """Parameters as papermill reads them: in YAML, where JSON's 3e-05 would be a text."""
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=float("inf")).strip()


def values_of(kind, root, values):
    return lambda wildcards: for_papermill({**values(wildcards.run), "out": f"{root}/runs/{kind}/{wildcards.run}"})


# A few cells start with what takes longest, training, so that all cores end together. Of many, a cell that is trained is
# measured before the next one starts: a study that is stopped has whole cells, and soon knows how long each kind of run takes.
MANY = 20
URGENCY = list(RUN_RULES) if len(CELLS) > MANY else list(reversed(RUN_RULES))

for name, (root, kind, needs, values) in RUN_RULES.items():

    rule:
        name:
            name
        input:
            notebook=notebook(f"runs/{kind}"),
            needs=lambda wildcards, needs=needs: needs(wildcards.run),
        output:
            manifest=f"{root}/runs/{kind}/{{run}}/manifest.json",
            executed=f"{root}/executed/runs/{kind}--{{run}}.ipynb",
        params:
            touched=touched(f"runs/{kind}"),
            values=values_of(kind, root, values),
        priority: URGENCY.index(name) + 1
        log:
            f"{root}/logs/{kind}--{{run}}.log",
        benchmark:
            f"{root}/timings/{kind}--{{run}}.tsv"
        shell:
            PAPERMILL


# `make bases`: the bases that ship, and what they score before any post-training.
rule bases:
    input:
        manifests("evaluate", [*SHIPPING, *REJECTED], root=BASES),
    run:
        shutil.rmtree(grid.SHIPPED, ignore_errors=True)
        for base in SHIPPING:
            ignored = shutil.ignore_patterns("identity.json")  # of use only to a run that goes on
            shutil.copytree(f"{BASES}/runs/pretrain/{base}", grid.SHIPPED / base, ignore=ignored)
        scores = {base: acceptance.measure(f"{BASES}/runs/evaluate/{base}") for base in [*SHIPPING, *REJECTED]}
        table = pd.concat(scores, names=["base"]).reset_index("base")
        table.to_csv(grid.SHIPPED.parent / "bases.csv", index=False)


# The record of this tier's runs, and the recorded study, which a fresh clone has and `make study` goes on with.
FRESH = [f"{STUDY.record}/{name}" for name in record.FILES]
ALL_RUNS = [path for kind, names in STUDY.runs.items() for path in manifests(kind, names)]
# What a record has that is kept with the repository is not run again.
KEPT = set() if STUDY.record.startswith("_build/") else record.recorded(STUDY)


# `make study` asks for this, and then writes the record: what a rule writes, Snakemake would delete before.
rule unrecorded:
    input:
        [path for kind, names in STUDY.runs.items() for path in manifests(kind, [n for n in names if n not in KEPT])],


rule recorded:
    input:
        runs=ALL_RUNS,
        code=["src/mathtransfer/study/grid.py", "src/mathtransfer/study/record.py"],
    output:
        FRESH,
    params:
        # Called otherwise, or of other code, the same runs have another record.
        cells=json.dumps([[name, cell.setting, cell.changes] for name, cell in CELLS.items()]),
        varying=STUDY.varying,
    run:
        record.write_record(STUDY, ROOT)


RECORDS = sorted({*FRESH, *(str(path) for path in map(Path("results/study").joinpath, record.FILES) if path.is_file())})
COMPARED = f"{ROOT}/fresh.csv"


# Every chapter that shows both records says the same of how they agree.
rule compared:
    input:
        records=RECORDS,
        code=["src/mathtransfer/claims/fresh.py", "src/mathtransfer/study/record.py"],
    output:
        COMPARED,
    run:
        recorded = record.read_record("results/study") if Path("results/study/runs.csv").is_file() else None
        found = fresh.compare(record.read_record(STUDY.record), recorded)
        found.to_csv(COMPARED, index=False)
        counted = ", ".join(f"{number} {verdict}" for verdict, number in found["verdict"].value_counts().items())
        print(f"  fresh runs beside the record: {counted}")


READS = [*RECORDS, COMPARED, "config/study.yaml", "config/tiers.yaml"]
# The record of the runs from which learning rates and sizes were chosen.
PILOT = [str(path) for path in map(Path("results/pilot").joinpath, record.FILES) if path.is_file()]
# What the bases scored before any post-training, and how each was made.
WORLD = [str(path) for path in sorted((runs.PACKAGE / "miniature").rglob("*")) if path.suffix in (".csv", ".json")]

# Chapter: what it reads, the tables it writes beside its page, and its parameters besides `study`.
CHAPTERS = {
    # What a reader should know: examples by hand, which read nothing.
    "on_and_off_policy": ([], [], {}),
    "one_objective": ([], [], {}),
    "index_by_hand": ([], [], {}),
    "pca_shift": ([], [], {}),
    "kl_and_rank_shift": ([], [], {}),
    "how_to_read_intervals": ([], [], {}),
    "published_tables": ([], [], {}),
    "published_claims": ([], [f"{EVIDENCE}/published_claims.csv"], {}),
    "index_under_the_microscope": ([], [], {}),
    "released_generations": (
        [RECORDED, *RELEASED],
        [f"{EVIDENCE}/released_generations.csv"],
        {"data_root": DATA_ROOT, "download": config.get("download", False), "recorded": RECORDED},
    ),
    "known_problems": ([RECORDED], [], {"recorded": RECORDED}),
    "miniature_world": (
        ["config/study.yaml", *WORLD],
        [],
        {},
    ),
    "protocol": ([*PILOT, *READS], [], {}),
    "controlled_study": (READS, [f"{EVIDENCE}/controlled_study.csv"], {}),
    "elicitation_or_skill": (READS, [], {}),
    "ablation": (READS, [f"{EVIDENCE}/ablation.csv"], {}),
    "price": ([*PILOT, *READS], [], {}),
    # These two also show what a record leaves out, layers and single tokens, of the fresh runs.
    "latent_drift": ([*READS, *manifests("latent_drift", CELLS)], [f"{EVIDENCE}/latent_drift.csv"], {}),
    "token_drift": ([*READS, *manifests("token_drift", CELLS)], [f"{EVIDENCE}/token_drift.csv"], {}),
    "forgetting": (READS, [f"{EVIDENCE}/forgetting.csv"], {}),
    "paper_suite": (SUITE_PAPER, [], {}),
    "survey": (
        [MODELS, *SURVEY_RUNS],
        [f"{EVIDENCE}/survey.csv"],
        {"run_folders": SURVEYED, "models": MODELS},
    ),
    "training_recipes": (
        [
            "config/estimates.yaml",
            "src/mathtransfer/training/qwen3.csv",
            *map(str, sorted(Path("config/recipes").glob("*.yaml"))),
        ],
        [],
        {},
    ),
}
CHAPTERS["ledger"] = (
    [table for _, tables, _ in CHAPTERS.values() for table in tables if table.startswith(EVIDENCE)],
    [f"{ROOT}/ledger.csv"],
    {},
)
CHAPTERS["how_we_judge"] = ([RECORDED, f"{ROOT}/ledger.csv", *READS], [], {"recorded": RECORDED})
CHAPTERS["samples"] = ([*FRESH, *manifests("evaluate", sorted({*STUDY.runs["evaluate"]} - KEPT))], [], {})
CHAPTERS["what_to_do"] = ([RECORDED, *READS], [], {"grades": RECORDED})
CHAPTERS["introduction"] = ([*READS, f"{ROOT}/ledger.csv"], [], {})

# Exercises in the same way: their solutions run with the book, so that one which fails stops it.
EXERCISES = {
    "audit": ([], [], {}),
    "transferability_index": ([], [], {}),
    "grading": ([RECORDED], [], {"grades": RECORDED}),
    "world": ([*READS, *WORLD], [], {}),
    "comparisons": ([*PILOT, *READS], [], {}),
    "levers": ([], [], {}),
    "drift": (READS, [], {}),
    "judging": ([f"{ROOT}/ledger.csv", MODELS], [], {}),
    "quiz": (
        [f"{ROOT}/ledger.csv", RECORDED, *READS, *map(str, sorted((runs.PACKAGE / "pages" / "quizzes").iterdir()))],
        [],
        {"grades": RECORDED},
    ),
}
# What they took, on this machine and on those that others have measured.
MEASURED_ELSEWHERE = [str(path) for path in sorted(Path("results/classroom").glob("*.csv"))]
EXERCISES["instructors"] = (
    [*(f"{EXECUTED}/exercises/{name}.ipynb" for name in EXERCISES), *MEASURED_ELSEWHERE],
    [],
    {"measured": "results/classroom"},
)
# What all of them took: made when nothing else runs any more.
CHAPTERS["status"] = (
    [
        *READS,
        MODELS,
        *SURVEY_RUNS,
        *(f"{EXECUTED}/chapters/{name}.ipynb" for name in CHAPTERS),
        *(f"{EXECUTED}/exercises/{name}.ipynb" for name in EXERCISES),
        *RUN_PAGES.values(),
    ],
    [],
    {"models": MODELS, "run_folders": SURVEYED},
)
HANDED_OUT = [name for name in EXERCISES if name not in ("quiz", "instructors")]
READING = [("chapter", *one) for one in CHAPTERS.items()] + [("exercise", *one) for one in EXERCISES.items()]

for kind, name, (needs, makes, own) in READING:

    rule:
        name:
            f"{kind}_{name}"
        input:
            notebook=notebook(f"{kind}s/{name}"),
            claims=["src/mathtransfer/claims/claims.yaml", "src/mathtransfer/claims/changes.yaml"],
            paper=[str(path) for path in sorted(Path("src/mathtransfer/paper").rglob("*.csv"))],
            needs=needs,
        output:
            executed=f"{EXECUTED}/{kind}s/{name}.ipynb",
            tables=makes,
        params:
            touched=touched(f"{kind}s/{name}"),
            values=for_papermill({"study": ROOT, **own}),
        log:
            f"{ROOT}/logs/{name}.log",
        benchmark:
            f"{ROOT}/timings/{name}.tsv"
        shell:
            PAPERMILL


# Source notebook -> the executed copy that its page shows; the book's extension reads this.
PAGES = {f"notebooks/{kind}s/{name}": f"{EXECUTED}/{kind}s/{name}.ipynb" for kind, name, _ in READING} | RUN_PAGES


# `make exercises`: the exercises without their solutions, to hand out.
rule exercises:
    input:
        [f"notebooks/exercises/{name}.ipynb" for name in HANDED_OUT],
    output:
        [f"_build/exercises/{name}.ipynb" for name in HANDED_OUT],
    run:
        for source, starter in zip(input, output):
            starters.write(source, starter)


# `make slides`: a page of slides for each session of the seminar, with the figures of executed chapters.
DECKS = sorted(Path("book/slides").glob("*.yaml"))


rule slides:
    input:
        decks=[str(path) for path in DECKS],
        executed=sorted({f"{EXECUTED}/{page}.ipynb" for path in DECKS for page in slides.pages_of(path)}),
        code=[str(runs.PACKAGE / "pages" / name) for name in ("slides.py", "templates/slides.html", "templates/slides.css")],
    output:
        [f"{ROOT}/slides/{path.stem}.html" for path in DECKS],
    run:
        for path, page in zip(input.decks, output):
            slides.write(path, EXECUTED, page)
        print("Slides: " + ", ".join(output))


rule book:
    input:
        executed=list(PAGES.values()),
        pages=[str(path) for path in sorted(Path("book").rglob("*")) if path.is_file() and path.suffix != ".pyc"],
        configuration=["_config.yml", "_toc.yml", "pyproject.toml"],
    output:
        f"{STUDY.html}/index.html",
    params:
        executed=json.dumps(PAGES),
        html=STUDY.html,
    log:
        f"{ROOT}/logs/book.log",
    benchmark:
        f"{ROOT}/timings/book.tsv"
    shell:
        "echo '  book: started'; SECONDS=0; jupyter-book config sphinx . > {log} 2>&1 && BOOK_EXECUTED={params.executed:q} PYTHONPATH=book/_ext${{PYTHONPATH:+:$PYTHONPATH}} "
        "sphinx-build -W -n --keep-going -b html -d {ROOT}/doctrees . {params.html} >> {log} 2>&1 "
        "|| (cat {log} >&2; exit 1) && echo \"  book: done in $SECONDS s\""


# The ledger joins all evidence that there is; what no rule makes any more, as of a chapter that is gone, shall not enter
# verdicts. It is moved and not deleted. Runs stay where they are: the record reads those of the tier's cells alone.
onstart:
    # Snakemake 9 looks every second, once more for every job that has ended, whether so many jobs start that they must be
    # slowed down: after two hundred runs that took a quarter of a core.
    workflow.scheduler.job_rate_limiter = None
    made = {Path(path) for _, makes, _ in CHAPTERS.values() for path in makes}
    for path in sorted(set(Path(EVIDENCE).glob("*.csv")) - made):
        aside = Path(ROOT, "set_aside", time.strftime("%Y-%m-%dT%H-%M-%S"), path.name)
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        print(f"  {path} is of no rule of this tier: moved to {aside}")


onsuccess:
    parts = sorted(Path(ROOT, "timings").glob("*.tsv"), key=lambda path: path.stat().st_mtime)
    if parts:  # a survey of the real models makes nothing of this tier
        took = timings.read_timings(ROOT)
        took.to_csv(f"{ROOT}/timings.csv", index=False)
    if parts and parts[-1].stem == "book":
        print(took.to_string(index=False))
        print(f"The book: {STUDY.html}/index.html")
