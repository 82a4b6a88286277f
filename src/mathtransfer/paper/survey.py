"""The thirty models of the survey, and how each is asked when it is run again."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from mathtransfer import shipped

SUITE = "paper"
_METHODS = ("base", "instruct", "SFT", "RL")


@dataclass(frozen=True)
class Model:
    """A model of the paper and how it is asked; `config/models.yaml` says from which script each setting comes."""

    hub_id: str  # empty if no public release is known
    base: str  # the name of the model it was tuned from, empty for a base
    family: str
    params_b: float  # billions
    method: str
    chat_template: bool  # whether prompts go through the tokenizer's own
    enable_thinking: bool | None  # what the template is told; None leaves it to its default
    budget: int  # tokens, prompt and response together


def read_models(path: str | Path) -> dict[str, Model]:
    """The models of a file such as `config/models.yaml`: name -> model, in the file's order.

    Raises:
        ValueError: the file is no list of models, or a model has an unknown or missing field, a base that is not in the
            file, or an unknown method.
    """
    written = yaml.safe_load(shipped.find(path).read_text(encoding="utf-8"))
    if not isinstance(written, dict) or set(written) != {"defaults", "models"}:
        raise ValueError(f"{path} is no list of models: expected the keys defaults and models, and no others")
    known = [field.name for field in fields(Model)]
    models = {}
    for name, own in written["models"].items():
        entry = written["defaults"] | own
        if unknown := [field for field in entry if field not in known]:
            raise ValueError(f"{path}: {name} has the unknown field {', '.join(unknown)}: expected {', '.join(known)}")
        if missing := [field for field in known if field not in entry]:
            raise ValueError(f"{path}: {name} has no {', '.join(missing)}: write it there or among the defaults")
        models[name] = Model(**entry)
    for name, model in models.items():
        if model.method not in _METHODS:
            raise ValueError(f"{path}: {name} has the method {model.method!r}: expected one of {', '.join(_METHODS)}")
        if (model.base or model.method != "base") and model.base not in models:
            raise ValueError(
                f"{path}: {name} has the base {model.base!r}, which is no model of this file: add it there"
            )
    return models


def folder_name(name: str) -> str:
    """A model's name as the name of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def evaluation(name: str, models: dict[str, Model]) -> dict:
    """What `notebooks/runs/evaluate.ipynb` is given to evaluate one of the models, besides `out`.

    Raises:
        ValueError: there is no such model, or no release of it or its base is known.
    """
    if name not in models:
        raise ValueError(f"unknown model {name!r}: expected one of {'; '.join(models)}")
    model = models[name]
    if not (model.hub_id and (base := models[model.base or name].hub_id)):
        raise ValueError(f"no public release of {name} or of its base is known: it cannot be evaluated")
    return {
        "model": model.hub_id,
        "base": base,
        "label": name,
        "suite": SUITE,
        "n": None,
        "chat": model.chat_template,
        "think": model.enable_thinking,
        "budget": model.budget,
        "engine": "vllm",
        "tier": "full",
    }


def command(name: str) -> str:
    """The shell command that evaluates one of the models."""
    return f"make survey MODELS={shlex.quote(name)}"
