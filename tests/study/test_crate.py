"""A study as an RO-Crate says of every run what its manifest says; the library itself reads it back."""

import pytest
from conftest import ROOT
from rocrate.rocrate import ROCrate

from mathtransfer import runs
from mathtransfer.study import crate

RUNS = {"a": {"seed": 0, "formats": {"steps :": 8}}, "b": {"seed": 1, "formats": {}}}


@pytest.fixture
def study(tmp_path):
    for name, parameters in RUNS.items():
        with runs.run_folder(tmp_path / "runs" / "evaluate" / name, "evaluate", parameters) as folder:
            (folder / "scores.csv").write_text("value\n1\n")
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "scores.csv").write_text("value\n1\n2\n")
    return tmp_path


def test_the_library_reads_back_every_run_with_its_parameters(study):
    assert crate.write(study, ROOT / "pyproject.toml") == study / "ro-crate-metadata.json"
    found = ROCrate(study)
    actions = {action["name"]: action for action in found.get_by_type("CreateAction")}
    assert actions.keys() == {*(f"evaluate/{name}" for name in RUNS), f"the study {study.name}"}
    for name, parameters in RUNS.items():
        action = actions[f"evaluate/{name}"]
        values = {value["name"]: value["value"] for value in action["object"]}
        assert values == {"seed": str(parameters["seed"]), "formats": '{"steps :": 8}' if name == "a" else "{}"}
        assert action["instrument"].id.endswith("/notebooks/runs/evaluate.ipynb")
        (folder,) = action["result"] if isinstance(action["result"], list) else [action["result"]]
        assert (study / folder.id / "manifest.json").is_file()
    whole = actions[f"the study {study.name}"]
    assert whole["instrument"] == found.mainEntity and found.mainEntity["programmingLanguage"]["name"] == "Snakemake"
    table = whole["result"] if not isinstance(whole["result"], list) else whole["result"][0]
    assert (study / table.id).stat().st_size == int(table["contentSize"])
    profiles = {profile.id for profile in found.root_dataset["conformsTo"]}
    assert {"https://w3id.org/ro/wfrun/process/0.5", "https://w3id.org/ro/wfrun/workflow/0.5"} <= profiles


def test_a_study_without_runs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run in"):
        crate.write(tmp_path, ROOT / "pyproject.toml")
