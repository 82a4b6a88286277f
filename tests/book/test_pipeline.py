"""The study and its book at the smoke tier.

The Snakefile runs what is stale and nothing else, survives kill -9 and repeats itself bit for bit; the book opens
without a network. All of it is in one file, so that one test process builds the study, in a copy of the repository.
"""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import MAKE_BOOK, copy_repository, kill_once, papermill, run

from mathtransfer import runs
from mathtransfer.claims import elicitation
from mathtransfer.claims.ledger import _COLUMNS
from mathtransfer.pages.explorer import index_with
from mathtransfer.paper import reported

pytestmark = pytest.mark.slow


def planned(repository: Path) -> set[str]:
    """The rules that would run now."""
    data_root = os.environ.get("DATA_ROOT", "data")
    done = run(["snakemake", "--nolock", "--config", "tier=smoke", f"data_root={data_root}", "--dry-run"], repository)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^rule (\w+):", done.stdout + done.stderr, flags=re.MULTILINE)) - {"all"}


def test_the_study_is_whole(smoke_study):
    assert (smoke_study / "html" / "index.html").is_file()
    scores = pd.read_csv(smoke_study / "scores.csv")
    assert list(scores.columns) == runs.TIDY
    assert scores.groupby("model")["benchmark"].nunique().eq(12).all()
    ledger = pd.read_csv(smoke_study / "ledger.csv")
    assert list(ledger.columns) == _COLUMNS
    miniature = {"L1", "L5", *(f"{part}{number}" for part in "ST" for number in range(1, 5))}
    assert set(ledger.query("layer == 'miniature'")["claim"]) == miniature
    every = {claim for claim in reported.table("claims")["claim"]}
    assert every - set(ledger.query("layer == 'published'")["claim"]) == {"T4", "A3", "A6"}  # no table is printed
    formats = pd.read_parquet(smoke_study / "runs" / "evaluate" / "base" / "formats.parquet")
    assert formats.groupby("begins").size().to_dict() == dict.fromkeys(elicitation.FORMATS.values(), 12 * 8)
    assert all(row.completion.startswith(row.begins) for row in formats.itertuples())
    timings = pd.read_csv(smoke_study / "timings.csv")
    assert list(timings.columns) == ["part", "seconds", "peak_memory_mb"]
    assert {"book", "controlled_study"} <= set(timings["part"])


def test_nothing_to_do_the_second_time(repository, smoke_study):
    assert planned(repository) == set()


def test_touching_a_chapter_runs_that_chapter_only(repository):
    (repository / "notebooks" / "chapters" / "token_drift.ipynb").touch()
    done = run(MAKE_BOOK, repository)
    assert done.returncode == 0, done.stdout[-2000:]
    started = {line.split()[0].rstrip(":") for line in done.stdout.splitlines() if line.endswith(": started")}
    assert started == {"chapter_token_drift", "book"}


@pytest.mark.parametrize(
    ("file", "runs_again", "does_not"),
    [
        (
            "training/objective.py",
            {"train", "evaluate", "latent_drift", "token_drift", "chapter_ledger", "book"},
            set(),
        ),
        ("drift/latent.py", {"latent_drift", "chapter_latent_drift"}, {"train", "evaluate", "token_drift"}),
        ("pages/charts.py", {"chapter_controlled_study"}, set()),
    ],
)
def test_changing_code_runs_what_depends_on_it(repository, file, runs_again, does_not):
    path = repository / "src" / "mathtransfer" / file
    text = path.read_text()
    path.write_text(text + "\n# changed\n")
    jobs = planned(repository)
    path.write_text(text)  # Snakemake compares by content what is as small as this
    assert runs_again <= jobs
    assert not does_not & jobs


def test_an_unknown_tier_is_refused():
    done = run(["snakemake", "--cores", "1", "--config", "tier=medium", "--nolock", "--dry-run"])
    assert done.returncode != 0
    assert "unknown tier 'medium': expected one of mini, smoke" in done.stderr + done.stdout


def test_a_second_make_says_so_and_a_kill_lets_it_go_on(tmp_path):
    folder, tried = copy_repository(tmp_path / "copy"), []

    def try_a_second():
        if list(folder.glob("_build/smoke/logs/*.log")):
            tried.append(run(MAKE_BOOK, folder))
        return bool(tried)

    kill_once(MAKE_BOOK, try_a_second, folder)
    (second,) = tried
    assert second.returncode != 0 and not second.stdout
    assert second.stderr.splitlines()[0] == "Another make is at work in this folder: wait for it, or end it."
    third = run([*MAKE_BOOK, "TIER=medium"], folder)
    assert "unknown tier 'medium'" in third.stdout  # so Snakemake was asked


def test_a_killed_evaluation_goes_on_at_its_last_chunk(smoke_study, tmp_path):
    """Its tables are those of the run that was never killed, and what was finished is not made again."""
    cut, chunks = tmp_path / "cut", tmp_path / "cut.partial" / runs.RESUME
    name = next(path.name for path in sorted((smoke_study / "runs" / "train").iterdir()))
    model = smoke_study / "runs" / "train" / name / "checkpoint"
    command = papermill("runs/evaluate", tmp_path / "cut.ipynb", out=cut, model=model, tier="smoke", n=8, batch_size=64)
    kill_once(command, lambda: len(list(chunks.glob("*/*.parquet"))) > 3)
    finished = {path: path.stat().st_mtime_ns for path in chunks.glob("*/*.parquet")}
    assert finished and not cut.exists(), "the run was to be killed between two chunks"
    kill_once(command, lambda: set(chunks.glob("*/*.parquet")) > set(finished))
    assert finished.items() <= {path: path.stat().st_mtime_ns for path in chunks.glob("*/*.parquet")}.items()

    done = run(command)
    assert done.returncode == 0, done.stderr[-2000:]
    whole = smoke_study / "runs" / "evaluate" / name
    assert (cut / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert pd.read_parquet(cut / "samples.parquet").equals(pd.read_parquet(whole / "samples.parquet"))
    assert not (cut / runs.RESUME).exists()


def test_two_runs_of_one_seed_give_the_same_tables(smoke_study, tmp_path):
    """Evaluation and drift of one smoke model again, in new processes."""
    name = next(path.name for path in sorted((smoke_study / "runs" / "train").iterdir()))
    model = smoke_study / "runs" / "train" / name / "checkpoint"
    evaluation = tmp_path / "evaluate"
    common = {"model": model, "tier": "smoke"}
    commands = {
        "evaluate": {"n": 8, "batch_size": 64},
        "latent_drift": {"n": 8, "evaluation": evaluation},
        "token_drift": {"n": 3, "evaluation": evaluation},
    }
    for kind, own in commands.items():
        done = run(papermill(f"runs/{kind}", tmp_path / f"{kind}.ipynb", out=tmp_path / kind, **common, **own))
        assert done.returncode == 0, done.stderr[-2000:]
        for table in (tmp_path / kind).glob("*.csv"):
            assert table.read_bytes() == (smoke_study / "runs" / kind / name / table.name).read_bytes()


def test_every_page_is_whole_offline(smoke_study, browser):
    html = smoke_study / "html"
    pages = [*html.glob("notebooks/*/*.html"), *html.glob("book/*.html"), html / "index.html"]
    assert len(pages) >= 12
    drawn = 0
    for path in pages:
        page = browser.new_page()
        outside, errors = [], []
        page.on(
            "request", lambda r, seen=outside: seen.append(r.url) if not r.url.startswith(("file:", "data:")) else None
        )
        page.on("console", lambda m, seen=errors: seen.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e, seen=errors: seen.append(str(e)))
        page.goto(path.as_uri())
        page.wait_for_timeout(500)  # "networkidle" is sometimes never told of pages from files
        charts = page.locator('[id^="altair-viz"]')
        if charts.count():
            page.wait_for_function(
                "() => [...document.querySelectorAll('[id^=altair-viz]')].every(d => d.querySelector('canvas, svg'))",
                timeout=20_000,
            )
        drawn += charts.count()
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=20_000)
        assert not outside, f"{path.name} asks the network for {outside[:3]}"
        assert not errors, f"{path.name} logs {errors[:3]}"
        page.close()
    assert drawn >= 10


def test_charts_have_alternative_text(smoke_study, browser):
    page = browser.new_page()
    page.goto((smoke_study / "html/notebooks/chapters/controlled_study.html").as_uri())
    page.wait_for_selector(".vega-embed canvas, .vega-embed svg")
    labels = page.locator(".vega-embed [role='graphics-document'], .vega-embed canvas").evaluate_all(
        "nodes => nodes.map(n => n.getAttribute('aria-label') || n.parentElement.getAttribute('aria-label'))"
    )
    assert any(label and "accuracy" in label.lower() for label in labels)
    page.close()


def open_page(browser, html: Path, name: str):
    page = browser.new_page()
    page.goto((html / "notebooks" / "chapters" / f"{name}.html").as_uri())
    page.wait_for_timeout(500)  # "networkidle" is sometimes never told of pages from files
    return page


def drawn_indices(page, group: str) -> dict[str, float]:
    """Model -> index, from the labels of the bars that the interactive chart shows now."""
    labels = page.locator(f'.vega-embed path[aria-label^="index on {group}"]').evaluate_all(
        "bars => bars.map(bar => bar.getAttribute('aria-label'))"
    )
    matches = [re.search(r"\(%\): (\S+); model: (.*?);", label) for label in labels]
    return {match[2]: float(match[1].replace("−", "-")) for match in matches}


def test_controls_move_the_index_and_agree_with_python(smoke_study, browser):
    """The chart computes in the browser: every control is moved, and the bars are compared with `index_with`."""
    page = open_page(browser, smoke_study / "html", "index_under_the_microscope")
    page.wait_for_selector(".vega-bindings")
    steps = [
        {},
        {"definition": "per_model"},
        {"weights": "equal"},
        {"spread": "mean absolute gain"},
        {"exponent": "1"},
        {"definition": "pooled", "without_model": "S1.1-7B"},
        {"without_benchmark": "headqa"},
        {"spread": "none"},
        {"definition": "relative"},
    ]
    choices, before = {}, None
    for step in steps:
        for name, value in step.items():
            control = page.locator(f".vega-bindings [name={name}]")
            control.fill(value) if name == "exponent" else control.select_option(value)
        choices |= {name: float(value) if name == "exponent" else value for name, value in step.items()}
        page.wait_for_timeout(300)
        expected = index_with(reported.gains(), **choices).dropna()
        now = {group: drawn_indices(page, group) for group in ("other reasoning", "non-reasoning")}
        for group, column in zip(now, ("other", "non"), strict=True):
            assert now[group] == pytest.approx(dict(expected[column]), rel=1e-6), choices
        assert now != before
        before = now
    page.close()


def test_every_model_of_the_survey_can_be_chosen(smoke_study, browser):
    page = open_page(browser, smoke_study / "html", "survey")
    choice = page.get_by_label("The paper's and our scores of").locator("select")
    choice.wait_for()
    scores = reported.table("scores")
    assert choice.locator("option").count() == scores["model"].nunique()
    for model in ("S1.1-7B", "UniReason-Qwen3-14B (RL)"):
        choice.select_option(model)
        page.wait_for_timeout(300)
        labels = page.locator('.vega-embed path[aria-label*="grading: paper"]').evaluate_all(
            "dots => dots.map(dot => dot.getAttribute('aria-label'))"
        )
        drawn = {
            match[1]: float(match[2]) for match in map(re.compile(r"benchmark: (\w+);.*value: ([\d.]+)").search, labels)
        }
        assert drawn == dict(scores[scores["model"] == model][["benchmark", "score"]].to_numpy())
    page.close()


def test_ledger_filters_and_links(smoke_study, browser):
    evidence = pd.read_csv(smoke_study / "ledger.csv")
    page = open_page(browser, smoke_study / "html", "ledger")
    rows = page.locator("#ledger tbody tr:visible")
    assert rows.count() == len(evidence)
    page.select_option("#ledger select[name=layer]", "published")
    page.select_option("#ledger select[name=claim]", "S3")
    chosen = evidence[(evidence["layer"] == "published") & (evidence["claim"] == "S3")]
    assert rows.count() == len(chosen)
    assert page.locator("#ledger output").text_content() == f"{len(chosen)} of {len(evidence)}"
    page.select_option("#ledger select[name=verdict]", chosen["verdict"].iloc[0])
    assert rows.count() == (chosen["verdict"] == chosen["verdict"].iloc[0]).sum()
    links = page.locator("#ledger a").evaluate_all("links => links.map(link => link.href)")
    assert len(links) == len(evidence)
    for link in set(links):
        address, section = link.split("#")
        page.goto(address)
        assert page.locator(f"section#{section}").count() == 1, link
    page.close()
