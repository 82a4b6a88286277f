"""The thirty models of the paper: their file, and how each is asked."""

import dataclasses

import pytest
import yaml
from conftest import ROOT

from mathtransfer.paper import reported, survey

MODELS = ROOT / "config" / "models.yaml"


def test_the_models_are_those_of_the_paper():
    models = survey.read_models(MODELS)
    table = reported.table("models").fillna("")
    assert list(models) == list(table["model"])
    for row in table.itertuples():
        found = dataclasses.asdict(models[row.model])
        assert {name: found[name] for name in row._fields[2:]} == {name: getattr(row, name) for name in row._fields[2:]}


def test_how_models_are_asked():
    models = survey.read_models(MODELS)
    short = {name for name, model in models.items() if model.budget != 32768}
    assert short == {"Qwen2.5-7B-Instruct", "Qwen2.5-Math-7B-Base"} and {models[m].budget for m in short} == {4096}
    think, plain = models["Qwen3-14B (think)"], models["Qwen3-14B (no-think)"]
    assert think.hub_id == plain.hub_id and think.enable_thinking is True and plain.enable_thinking is False
    assert all(models[name].enable_thinking is False for name in reported.CONTROLLED_STUDY)
    for model in models.values():  # a pair that is asked in two ways cannot be compared
        assert not model.base or model.chat_template == models[model.base].chat_template


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hub": "x"}, "S1.1-7B has the unknown field hub: expected hub_id, base"),
        ({"family": None}, "S1.1-7B has no family: write it there"),
        ({"base": "Qwen3"}, "S1.1-7B has the base 'Qwen3', which is no model of this file"),
        ({"base": ""}, "S1.1-7B has the base '', which is no model"),
        ({"method": "DPO"}, "S1.1-7B has the method 'DPO': expected one of base, instruct, SFT, RL"),
    ],
)
def test_a_wrong_model_file_is_refused(tmp_path, change, message):
    written = yaml.safe_load(MODELS.read_text())
    model = written["models"]["S1.1-7B"]
    model.update(change)
    written["models"]["S1.1-7B"] = {name: value for name, value in model.items() if value is not None}
    path = tmp_path / "models.yaml"
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    with pytest.raises(ValueError, match=message):
        survey.read_models(path)
    path.write_text(yaml.safe_dump(written["models"]))
    with pytest.raises(ValueError, match="is no list of models: expected the keys defaults and models"):
        survey.read_models(path)


def test_a_model_without_a_release_cannot_be_evaluated():
    known = survey.read_models(MODELS)
    with pytest.raises(ValueError, match=r"no public release of General-Reasoner-Qwen3-14B \(SFT\) or of its base"):
        survey.evaluation("General-Reasoner-Qwen3-14B (SFT)", known)
    with pytest.raises(ValueError, match="unknown model 'Qwen4'"):
        survey.evaluation("Qwen4", known)
