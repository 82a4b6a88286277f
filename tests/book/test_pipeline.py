"""The study and its book at the smoke tier.

The Snakefile runs what is stale and nothing else, survives kill -9 and repeats itself bit for bit; the book opens
without a network. All of it is in one file, so that one test process builds the study, in a copy of the repository.
"""

import math
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from conftest import MAKE_BOOK, MAKE_STUDY, copy_repository, kill_once, papermill, run
from papermill.iorw import NoDatesSafeLoader
from safetensors import safe_open

from mathtransfer import GROUP_TITLES, runs
from mathtransfer.claims import criteria, fresh, ledger
from mathtransfer.claims.ledger import _COLUMNS
from mathtransfer.pages.explorer import index_with
from mathtransfer.paper import reported
from mathtransfer.study import grid, record

RECORD = "_build/smoke/record"
DRAWN = "() => [...document.querySelectorAll('[id^=altair-viz]')].every(d => d.querySelector('canvas, svg'))"
pytestmark = pytest.mark.slow


def planned(repository: Path) -> set[str]:
    """The rules that would run now."""
    data_root = os.environ.get("DATA_ROOT", "data")
    done = run(["snakemake", "--nolock", "--config", "tier=smoke", f"data_root={data_root}", "--dry-run"], repository)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^rule (\w+):", done.stdout + done.stderr, flags=re.MULTILINE)) - {"all"}


def test_the_record_has_every_run_of_the_tier_and_every_question(studied):
    tier, found = grid.read_tier("smoke", studied), record.read_record(studied / RECORD)
    assert sorted(found.runs["run"]) == sorted(tier.runs["evaluate"])
    a_run = {
        "answers": 12 * tier.sizes["evaluate"]["n"],
        "formats": 12 * sum(tier.sizes["evaluate"]["formats"].values()),
        "scores": 12 * 4,
    }
    for name, rows in a_run.items():
        counted = getattr(found, name).groupby("run", observed=True).size()
        assert counted.to_dict() == dict.fromkeys(found.runs["run"], rows), name
    trained = found.runs[found.runs["seed"] >= 0]
    assert set(found.shifts["run"]) == set(found.training["run"]) == set(trained["run"]) == set(tier.cells)
    shifts = found.shifts[~found.shifts["metric"].str.contains("evenness")]  # which needs longer responses
    apart, begun = shifts["group"].isin(["training", "weights"]), shifts["metric"].str.startswith("begun_")
    for rows, benchmarks in ((shifts[~apart & ~begun], 12), (shifts[begun], 8), (shifts[apart], 1)):
        measured = rows.groupby(["run", "metric"], observed=True)["benchmark"].nunique()
        assert measured.eq(benchmarks).all() and measured.groupby("run", observed=True).size().nunique() == 1
    measured = [f"{part}_{what}" for part in ("train", *grid.MEASURED) for what in ("seconds", "memory_mb")]
    assert (trained[measured] > 0).all(axis=None)
    assert trained["base_fingerprint"].nunique() == len(tier.bases) and trained["train_code"].nunique() == 1
    given = pd.read_parquet(studied / "_build/smoke/runs/evaluate/settled-0/formats.parquet")
    assert all(row.completion.startswith(row.begins) for row in given.itertuples())


def test_a_finished_study_plans_nothing_and_a_changed_file_what_depends_on_it(studied):
    plan, tier = [*MAKE_STUDY, "PLAN=1"], grid.read_tier("smoke", studied)
    of_all = sum(map(len, tier.runs.values()))
    done = run(plan, studied)
    assert (done.returncode, done.stdout) == (0, f"All {of_all} runs are finished\n"), done.stdout + done.stderr
    file = studied / "src" / "mathtransfer" / "drift" / "tokens.py"
    text = file.read_text()
    file.write_text(text + "\n# changed\n")
    changed = run(plan, studied).stdout
    file.write_text(text)
    assert changed.startswith(f"{len(tier.cells)} of {of_all} runs are left: {len(tier.cells)} token_drift\n"), changed
    assert "Time: about " in changed


def test_what_a_kept_record_has_is_not_run_again(studied, tmp_path):
    """In a new clone, which has the record and no runs: on another machine the study goes on."""
    folder = copy_repository(tmp_path / "copy")
    tiers = yaml.safe_load((folder / "config" / "tiers.yaml").read_text())
    tiers["smoke"]["record"] = "results/smoke"
    (folder / "config" / "tiers.yaml").write_text(yaml.safe_dump(tiers))
    shutil.copytree(studied / RECORD, folder / "results" / "smoke")
    tier, plan = grid.read_tier("smoke", folder), [*MAKE_STUDY, "PLAN=1"]
    of_all = sum(map(len, tier.runs.values()))
    assert run(plan, folder).stdout == f"All {of_all} runs are finished\n"
    table = pd.read_csv(folder / "results" / "smoke" / "runs.csv")
    gone = next(iter(tier.cells))
    table[table["run"] != gone].to_csv(folder / "results" / "smoke" / "runs.csv", index=False)
    left = run(plan, folder).stdout
    assert left.startswith(f"4 of {of_all} runs are left: "), left


def test_a_study_on_a_larger_base_pre_trains_it_first(tmp_path):
    """One cell of the tier for a GPU, with two updates wherever something is trained."""
    folder = copy_repository(tmp_path / "copy")
    study, tiers = (yaml.safe_load((folder / "config" / f"{name}.yaml").read_text()) for name in ("study", "tiers"))
    study["bases"]["settled"]["steps"] = 2
    study["larger"] = [{"settings": ["on-policy SFT"], "bases": ["settled-0-4M"], "seeds": [0]}]
    tiers["gpu"] |= {part: tiers["smoke"][part] for part in ("train", *grid.MEASURED)}
    for name, content in {"study": study, "tiers": tiers}.items():
        (folder / "config" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    done = run(["make", "-o", ".venv/installed", "study", "TIER=gpu"], folder)
    assert done.returncode == 0, done.stdout[-2000:]
    found = record.read_record(folder / "results" / "gpu").runs
    assert sorted(found["run"]) == ["on-policy-SFT--settled-0-4M--0", "settled-0-4M"]
    with safe_open(folder / grid.base_folder("settled-0-4M") / "model.safetensors", "numpy") as weights:
        size = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.offset_keys())
    assert 3.9e6 < size < 4.1e6


def test_a_study_that_is_killed_at_any_moment_and_begun_again_has_the_same_record(studied, tmp_path):
    """One cell of the slice, another one every time, in a copy that has no other."""
    whole, folder = record.read_record(studied / RECORD), copy_repository(tmp_path / "copy")
    cell = random.choice(list(grid.read_tier("smoke", studied).cells.values()))
    tiers = yaml.safe_load((folder / "config" / "tiers.yaml").read_text())
    tiers["smoke"]["cells"] = [{"settings": [cell.setting], "bases": [cell.base], "seeds": [cell.seed]}]
    (folder / "config" / "tiers.yaml").write_text(yaml.safe_dump(tiers))
    for seconds in (random.uniform(3, 15) for _ in range(3)):
        moment = time.monotonic() + seconds
        kill_once(MAKE_STUDY, lambda moment=moment: time.monotonic() > moment, folder)
    done = run(MAKE_STUDY, folder)
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(rf" {cell.name}: done in .*; \d done, \d running, \d left; end about ", done.stdout), done.stdout
    found = fresh.compare(record.read_record(folder / RECORD), whole)
    assert found[["run", "verdict"]].to_numpy().tolist() == [
        [run_, "the same bit for bit"] for run_ in sorted([cell.base, cell.name])
    ], found.to_dict("records")
    assert found[["same_code", "same_versions"]].all(axis=None)
    for rest in (f"*{runs._PARTIAL}", f"*{runs._REPLACED}", runs.RESUME, "resumed"):
        assert not list((folder / "_build" / "smoke" / "runs").rglob(rest))


def test_a_record_is_of_the_tiers_cells_whatever_else_was_run(studied):
    before = {name: (studied / RECORD / name).read_bytes() for name in record.FILES}
    own = studied / "_build/smoke/runs/token_drift"
    shutil.copytree(own / "on-policy-RL--settled-0--0", own / "on-policy-RL--settled-0--7")
    (studied / RECORD / "shifts.parquet").unlink()
    assert run(MAKE_STUDY, studied).returncode == 0
    shutil.rmtree(own / "on-policy-RL--settled-0--7")
    assert {name: (studied / RECORD / name).read_bytes() for name in record.FILES} == before


def test_the_study_is_whole(smoke_study):
    assert (smoke_study / "html" / "index.html").is_file()
    scores = pd.read_csv(smoke_study / "record" / "scores.csv").query("metric == 'accuracy'")
    assert scores.groupby("run")["benchmark"].nunique().eq(12).all()
    ledger = pd.read_csv(smoke_study / "ledger.csv")
    assert list(ledger.columns) == _COLUMNS
    # One base and two settings can speak of these; the recorded study, if there is one, of more.
    asked = {"S1", "S2", "S3", "S4", "S5", "S8", "S9", "L1", "L5", "T1", "T2", "T3", "T5", "A3", "A5"}
    assert asked <= set(ledger.query("layer == 'miniature'")["claim"])
    answered = {claim for claim, own in criteria.claims().items() if "published" in own.layers}
    assert set(ledger.query("layer == 'published'")["claim"]) == answered
    beside = pd.read_csv(smoke_study / "fresh.csv")  # the recorded study, if there is one, is not so small
    assert set(beside["run"]) == set(scores["run"])
    assert set(beside["verdict"]) <= {"not recorded", "of another size"}
    timings = pd.read_csv(smoke_study / "timings.csv")
    assert list(timings.columns) == ["part", "seconds", "memory_mb"]
    assert {"book", "controlled_study", "status"} <= set(timings["part"])
    assert timings.set_index("part").drop("book")["memory_mb"].between(100, 4000).all()  # of kernels, not of callers
    assert not (smoke_study.parent / "warm.log").read_text()  # the server ran every notebook


def test_nothing_to_do_the_second_time(repository, smoke_study):
    assert planned(repository) == set()


def test_a_touched_chapter_runs_alone_and_evidence_that_no_rule_makes_is_moved_away(repository, smoke_study):
    evidence = smoke_study / "evidence"
    recorded = (evidence / "token_drift.csv").read_bytes()
    shutil.copy(evidence / "token_drift.csv", evidence / "gone.csv")
    (repository / "notebooks" / "chapters" / "token_drift.ipynb").touch()
    done = run(MAKE_BOOK, repository)
    assert done.returncode == 0, done.stdout[-2000:]
    started = {line.split()[0].rstrip(":") for line in done.stdout.splitlines() if line.endswith(": started")}
    assert started == {"chapter_token_drift", "chapter_status", "book"}  # that page has every notebook's time
    assert (evidence / "token_drift.csv").read_bytes() == recorded
    assert not (evidence / "gone.csv").exists() and list(smoke_study.glob("set_aside/*/gone.csv"))


SUITES = "benchmarks/suites"


@pytest.mark.parametrize(
    ("files", "runs_again", "does_not"),
    [
        (
            ["training/objective.py"],
            {"train", "evaluate", "latent_drift", "token_drift", "recorded", "compared", "chapter_ledger", "book"},
            set(),
        ),
        (["drift/latent.py"], {"latent_drift", "chapter_latent_drift"}, {"train", "evaluate", "token_drift"}),
        (["pages/charts.py"], {"chapter_controlled_study"}, set()),
        ([f"{SUITES}/miniature/tasks.py"], {"evaluate", "report"}, {"train", "rejection"}),
        (
            [f"{SUITES}/paper/tasks.py", "miniature/bases/settled-0/log.csv", "training/qwen3.csv"],
            {"chapter_paper_suite", "chapter_miniature_world", "chapter_training_recipes"},
            {"train", "evaluate"},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_changing_a_file_runs_what_depends_on_it(repository, files, runs_again, does_not):
    texts = {repository / "src" / "mathtransfer" / file: "" for file in files}
    for path in texts:
        texts[path] = path.read_text()
        path.write_text(texts[path] + "\n# changed\n")
    jobs = planned(repository)
    for path, text in texts.items():
        path.write_text(text)  # Snakemake compares by content what is as small as this
    assert runs_again <= jobs
    assert not does_not & jobs


def test_papermill_reads_the_protocols_values(tmp_path):
    """Also a rate that Python writes without a point, which YAML would take for a text."""
    repository = copy_repository(tmp_path / "copy")
    name, cell = next((n, c) for n, c in grid.read_tier("pilot").cells.items() if c.parameters["learning_rate"] == 3e-5)
    target = f"_build/pilot/runs/train/{name}/manifest.json"
    command = ["snakemake", "--nolock", "--dry-run", "--printshellcmds", "--config", "tier=pilot", "--", target]
    done = run(command, repository)
    said = re.search(r"\.ipynb -y '(\{.*?\})' 2>", done.stdout + done.stderr)
    given = yaml.load(said[1], NoDatesSafeLoader)
    assert cell.parameters.items() <= given.items()  # its teacher is a style, which has the same name in both


def test_an_unknown_tier_is_refused():
    done = run(["snakemake", "--cores", "1", "--config", "tier=medium", "--nolock", "--dry-run"])
    assert done.returncode != 0
    assert "unknown tier 'medium': expected one of gpu, mini, pilot, smoke, study" in done.stderr + done.stdout


def test_a_survey_in_a_fresh_clone(tmp_path):
    """It evaluates a model, here the miniature base in the place of a real one, and needs nothing of the tier."""
    folder = copy_repository(tmp_path / "copy")
    tiny = {"model": "miniature", "base": "miniature", "suite": "miniature", "groups": ["non"], "n": 2}
    tiny |= {"engine": "transformers", "chat": False, "budget": None}
    (folder / "own.yaml").write_text(yaml.safe_dump(tiny))
    command = ["make", "-o", ".venv/installed", "survey", "MODELS=Qwen3-14B-Base", "SETTINGS=own.yaml"]
    done = run(command, folder)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "_build/full/runs/evaluate/Qwen3-14B-Base/scores.csv").is_file()
    assert not (folder / "_build/mini/timings.csv").exists()


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


def test_a_killed_evaluation_goes_on_at_its_last_chunk(studied, tmp_path):
    """Its tables are those of the run that was never killed, and what was finished is not made again."""
    smoke_study = studied / "_build" / "smoke"
    cut, chunks = tmp_path / "cut", tmp_path / "cut.partial" / runs.RESUME
    name = next(path.name for path in sorted((smoke_study / "runs" / "train").iterdir()))
    model = smoke_study / "runs" / "train" / name / "checkpoint"
    own = {"model": model, "base": f"miniature/{name.split('--')[1]}", "tier": "smoke", "n": 8, "batch_size": 64}
    command = papermill("runs/evaluate", tmp_path / "cut.ipynb", out=cut, **own)
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


def test_two_runs_of_one_seed_give_the_same_tables(studied, tmp_path):
    """Both drifts of one smoke model again, in new processes."""
    study = Path("_build", "smoke", "runs")
    name = "on-policy-RL--settled-0--0"
    common = {
        "base": "miniature/settled-0",
        "model": study / "train" / name / "checkpoint",
        "evaluation": study / "evaluate" / name,
        "tier": "smoke",
    }
    sizes = grid.read_tier("smoke", studied).sizes
    for kind, own in {"latent_drift": sizes["latent_drift"], "token_drift": sizes["token_drift"] | {"seed": 0}}.items():
        command = papermill(f"runs/{kind}", tmp_path / f"{kind}.ipynb", out=tmp_path / kind, **common, **own)
        done = run(command, studied)
        assert done.returncode == 0, done.stderr[-2000:]
        tables = [table.name for table in (tmp_path / kind).glob("*.csv")]
        assert tables
        for table in tables:
            assert (tmp_path / kind / table).read_bytes() == (studied / study / kind / name / table).read_bytes()


def test_every_page_is_whole_offline(smoke_study, browser):
    """No page asks the network for anything or logs an error, formulas are set, and charts drawn and described."""
    html = smoke_study / "html"
    paths = [*html.glob("notebooks/*/*.html"), *html.glob("book/*.html"), html / "index.html"]
    assert len(paths) >= 12
    pages, outside, errors = {str(path.relative_to(html)): browser.new_page() for path in paths}, {}, {}
    for path, (name, page) in zip(paths, pages.items(), strict=True):
        asked, logged = outside.setdefault(name, []), errors.setdefault(name, [])
        page.on("request", lambda r, to=asked: to.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.on("console", lambda m, to=logged: to.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e, to=logged: to.append(str(e)))
        page.goto(path.as_uri())
    page.wait_for_timeout(500)  # "networkidle" is sometimes never told of pages from files
    drawn = 0
    for name, page in pages.items():
        charts = page.locator('[id^="altair-viz"]')
        page.wait_for_function(DRAWN, timeout=60_000)
        labels = charts.locator("[role='graphics-document']").evaluate_all("all => all.map(n => n.ariaLabel)")
        assert len(labels) == charts.count() and all(labels), f"{name} has a chart without a description: {labels}"
        drawn += charts.count()
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", state="attached", timeout=60_000)  # it may be in a folded solution
    for page in pages.values():
        page.close()
    assert not {name: found[:3] for name, found in outside.items() if found}
    assert not {name: found[:3] for name, found in errors.items() if found}
    assert drawn >= 10


def links(html: Path, name: str) -> set[tuple[str, str]]:
    """The files of the book, with the place in them, to which the text of a page has links."""
    article = re.search(r"<article.*?</article>", (html / name).read_text(), flags=re.DOTALL)[0]
    found = [urlsplit(unescape(link)) for link in re.findall(r'<a [^>]*href="([^"]*)"', article)]
    here = os.path.dirname(name)
    return {
        (os.path.normpath(os.path.join(here, unquote(link.path))) if link.path else name, unquote(link.fragment))
        for link in found
        if not link.scheme
    }


def leads_to(html: Path, name: str) -> set[str]:
    return {page for page, _ in links(html, name)}


def test_no_link_within_the_book_is_dead(smoke_study):
    html = smoke_study / "html"
    names = [str(path.relative_to(html)) for path in [*html.glob("notebooks/*/*.html"), *html.glob("book/*.html")]]
    places = {name: set(re.findall(r'\bid="([^"]*)"', (html / name).read_text())) for name in names}
    dead = {
        (name, target, place)
        for name in names
        for target, place in links(html, name)
        if not (html / target).exists() or (place and place not in places.get(target, {place}))
    }
    assert not dead


def test_samples_are_at_most_four_clicks_from_every_number_of_the_front_page(smoke_study):
    """The picture's numbers: one click. A mark's: its rows of the ledger, their chapter, the samples."""
    html, chapters = smoke_study / "html", "notebooks/chapters"
    front, samples = leads_to(html, f"{chapters}/introduction.html"), f"{chapters}/samples.html"
    assert {samples, f"{chapters}/ledger.html"} <= front
    evidence = pd.read_csv(smoke_study / "ledger.csv").query("layer == 'miniature'")
    pages = {f"{chapters}/{cell.partition('#')[0]}.html" for cell in evidence["cell"]}
    assert pages <= leads_to(html, f"{chapters}/ledger.html")
    assert not [page for page in pages if samples not in leads_to(html, page)]
    shown = (html / samples).read_text().lower()
    for row in record.read_record(smoke_study / "record").runs.itertuples():
        assert f"{row.setting} on {row.base}{f', training seed {row.seed}' if row.seed >= 0 else ''}".lower() in shown


def test_a_phone_shows_all_of_the_front_page(smoke_study, browser):
    """Nothing of its picture or table is cut off: every number of the record has its mark, where its value belongs."""
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((smoke_study / "html/notebooks/chapters/introduction.html").as_uri())
    page.wait_for_function(DRAWN, timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    place = "all => all.map(n => [n.ariaLabel, n.getBoundingClientRect().left, n.getBoundingClientRect().right])"
    marks = page.locator(".vega-embed g.mark-symbol path[aria-label]").evaluate_all(place)
    found = {}
    for label, left, right in marks:
        assert 0 <= left < right <= 390, label
        said = dict(part.split(": ", 1) for part in re.sub(r"bases: ", "bases, ", label).split("; "))
        value = float(said["value"].replace("−", "-"))
        found[said["row"].partition(", ")[2], said["series"], said["group"]] = value, (left + right) / 2
    values, places = map(np.array, zip(*sorted(found.values()), strict=True))
    assert (np.diff(places) > -1).all()  # a pixel
    assert all(np.ptp(places[values == value]) < 1 for value in values)

    recorded = record.read_record(smoke_study / "record")
    group_of = recorded.scores.drop_duplicates("benchmark").set_index("benchmark")["group"]
    answers = recorded.answers.merge(recorded.runs[["run", "setting", "seed"]])
    scores = (
        100 * answers.groupby(["setting", answers["benchmark"].astype(str).map(group_of)])["right"].mean().unstack()
    )
    short = {"on-policy RL": "RL", "off-policy SFT, foreign style": "SFT"}
    for setting, name in short.items():
        for group, title in GROUP_TITLES.items():
            gain = scores.loc[setting, group] - scores.loc["base", group]
            assert found[name, "natural", title][0] == pytest.approx(gain, abs=0.051)
    assert len(found) == len(marks) == len(short) * len(GROUP_TITLES) * 2  # naturally and at equal format

    said = page.locator("#verdicts tbody .sign").evaluate_all(place)
    verdicts = ledger.verdicts(ledger.read(smoke_study / "ledger.csv"))
    assert len(said) == (verdicts != criteria.NOT_APPLICABLE).sum().sum()
    assert all(0 <= left < right <= 390 for _, left, right in said)
    page.close()


def test_the_foot_of_a_page_says_what_it_was_made_from(smoke_study, browser):
    for path in (smoke_study / "html" / "notebooks").glob("*/*.html"):
        page = browser.new_page()
        page.goto(path.as_uri())
        said = page.locator("p.provenance").inner_text()
        assert re.search(rf"from notebooks/\w+/{path.stem}\.ipynb, which ran on .* UTC for \d+ s", said), said
        assert re.search(r"Rendered on .* from version \d+\.\d+", said), said
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(smoke_study, browser, scheme):
    """axe-core finds no serious or critical violation; a dark page differs from a light one in its colours alone."""
    rules = {} if scheme == "light" else {"runOnly": ["color-contrast"]}
    context, html, found = browser.new_context(color_scheme=scheme), smoke_study / "html", {}
    context.add_init_script(f"localStorage.setItem('mode', '{scheme}'); localStorage.setItem('theme', '{scheme}')")
    page = context.new_page()
    for path in [*html.glob("notebooks/*/*.html"), *html.glob("book/*.html")]:
        page.goto(path.as_uri())
        page.wait_for_function(DRAWN, timeout=60_000)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        for violation in Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.setdefault(path.stem, []).append((violation["id"], violation["nodes"][0]["html"][:200]))
    context.close()
    assert not found


def test_slides_have_their_figures_offline(repository, open_offline):
    """Both decks, from the chapters that were executed for the book."""
    done = run(["slides" if word == "book" else word for word in MAKE_BOOK], repository)
    assert done.returncode == 0, done.stdout[-2000:]
    for deck in sorted((repository / "book" / "slides").glob("*.yaml")):
        asked = [slide for slide in yaml.safe_load(deck.read_text())["slides"] if "figure" in slide]
        page = open_offline(repository / "_build" / "smoke" / "slides" / f"{deck.stem}.html", warnings=False)
        page.wait_for_function(DRAWN, timeout=60_000)
        assert page.locator("figure").count() == len(asked) >= 8
        assert all(page.locator("figure").evaluate_all("all => all.map(figure => figure.clientHeight > 50)"))


def test_starters_are_written_without_solutions(repository):
    done = run(["exercises" if word == "book" else word for word in MAKE_BOOK], repository)
    assert done.returncode == 0, done.stdout[-2000:]
    starters = sorted((repository / "_build" / "exercises").glob("*.ipynb"))
    assert len(starters) >= 8 and not [path for path in starters if '"solution"' in path.read_text()]


def open_page(browser, html: Path, name: str):
    page = browser.new_page()
    page.goto((html / "notebooks" / "chapters" / f"{name}.html").as_uri())
    return page


def wait_until(page, drawn: Callable[[], dict], expected: dict) -> None:
    """Wait until the page shows the expected numbers."""
    deadline = time.monotonic() + 20
    while (found := drawn()) != pytest.approx(expected, rel=1e-6):
        assert time.monotonic() < deadline, f"{found} is drawn, not {expected}"
        page.wait_for_timeout(50)


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
        expected = index_with(reported.gains(), **choices).dropna()
        assert not expected.equals(before), "a control that moves nothing shows nothing"
        for group, column in {"other reasoning": "other", "non-reasoning": "non"}.items():
            wait_until(page, lambda group=group: drawn_indices(page, group), dict(expected[column]))
        before = expected
    page.close()


def test_every_model_of_the_survey_can_be_chosen(smoke_study, browser):
    page = open_page(browser, smoke_study / "html", "survey")
    choice = page.get_by_label("The paper's and our scores of").locator("select")
    choice.wait_for()
    scores = reported.table("scores")
    assert choice.locator("option").count() == scores["model"].nunique()

    def drawn() -> dict[str, float]:
        labels = page.locator('.vega-embed path[aria-label*="grading: paper"]').evaluate_all(
            "dots => dots.map(dot => dot.getAttribute('aria-label'))"
        )
        matches = map(re.compile(r"benchmark: (\w+);.*value: ([\d.]+)").search, labels)
        return {match[1]: float(match[2]) for match in matches}

    for model in ("S1.1-7B", "UniReason-Qwen3-14B (RL)"):
        choice.select_option(model)
        wait_until(page, drawn, dict(scores[scores["model"] == model][["benchmark", "score"]].to_numpy()))
    page.close()


def test_solutions_are_folded_and_open(smoke_study, browser):
    """In every exercise the solution is there, hidden until it is asked for."""
    page = browser.new_page()
    for path in sorted((smoke_study / "html" / "notebooks" / "exercises").glob("*.html")):
        if path.stem in ("quiz", "instructors"):
            continue
        page.goto(path.as_uri())
        folded = page.locator("details.hide, details.solution")
        assert folded.count() >= page.locator("main h3").count() >= 4
        assert page.locator("details.hide[open], details.solution[open]").count() == 0
        assert "Show the solution" in page.locator("details.hide summary").first.inner_text()
        folded.first.locator("summary").first.click()
        assert page.locator("details[open]").count() == 1
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
