"""Recipes: the values of a training run at full size (`config/recipes`), beside the paper's and its authors'."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from mathtransfer import shipped
from mathtransfer.paper import reported
from mathtransfer.training.settings import SETTINGS

_AUTHORS = reported.ELSEWHERE / "authors_configuration.csv"
_NEEDED = (
    *("model", "setting", "seed", "data", "problems_each", "steps", "batch_size", "group_size", "learning_rate"),
    *("max_completion", "save_every"),
)
_OPTIONAL = {
    **{"label": "", "teacher": "", "teacher_errs": 0.0, "begins": "", "overlap": [], "prompt": {}},
    **{"trainer": {}, "lora": {}},
}


def read_recipe(path: str | Path, changes: dict | None = None) -> dict:
    """A recipe (`config/recipes`): values for the parameters of the notebook `train`, all but `out`.

    Args:
        changes: values to take instead of the recipe's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has an entry that is no parameter, or lacks one.
    """
    file = shipped.find(path)
    if not file.is_file():
        raise FileNotFoundError(f"no recipe {path}: give a file such as config/recipes/colab_rl.yaml")
    recipe = _OPTIONAL | yaml.safe_load(file.read_text()) | (changes or {})
    if unknown := sorted(set(recipe) - {*_NEEDED, *_OPTIONAL}):
        raise ValueError(f"unknown recipe entry {', '.join(unknown)}: expected {', '.join([*_NEEDED, *_OPTIONAL])}")
    if missing := [name for name in _NEEDED if name not in recipe]:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    return recipe


def beside_the_paper(folder: str | Path, kind: str) -> pd.DataFrame:
    """What the paper reports of a run of its study, what the authors' configuration says, and what our recipe does.

    Args:
        folder: where the recipes are.
        kind: `rl` or `sft`.

    Returns:
        `paper` (A.3.1, A.3.2), `authors` (train/README.md of their repository) and `here` by setting; empty if nothing
        is said or done.
    """
    columns = {
        "paper": reported.table("recipe_reported").set_index("setting")[kind],
        "authors": pd.read_csv(_AUTHORS, dtype=str).set_index("setting")[kind],
        "here": pd.Series(_in_the_papers_terms(read_recipe(Path(folder) / f"study_{kind}.yaml"))),
    }
    order = list(dict.fromkeys(name for column in columns.values() for name in column.index))
    table = pd.DataFrame(columns).reindex(order)
    return table[table.notna().any(axis=1)].fillna("")


def _in_the_papers_terms(recipe: dict) -> dict[str, str]:
    """A recipe's values: the paper counts batches in prompts and steps in rounds."""
    options, group, longest_prompt = recipe["trainer"], recipe["group_size"], recipe["prompt"]["max_tokens"]
    a_round = options.get("generation_batch_size", recipe["batch_size"])
    warm_up = options["warmup_steps"]
    sources = [recipe["data"]] if isinstance(recipe["data"], str) else [source["path"] for source in recipe["data"]]
    values = {
        "base model": recipe["model"].split("/")[-1],
        "framework": "TRL (GRPOTrainer)",
        "learning rate": f"{recipe['learning_rate']:.0e}".replace("e-0", "e-"),
        "learning rate schedule": options["lr_scheduler_type"],
        "warm-up": f"{warm_up} updates" if warm_up >= 1 else f"{warm_up:.0%} of the updates",
        "weight decay": str(options["weight_decay"]),
        "gradient clipping": str(options["max_grad_norm"]),
        "train batch size": str(a_round // group),
        "max sequence length": f"{(longest_prompt + recipe['max_completion']) // 1024}k tokens",
        "training data": ", ".join(sources),
        "seeds": "1",
    }
    if SETTINGS[recipe["setting"]].sampling == "teacher":
        return values | {"steps / epochs": f"{options['num_train_epochs']} epochs"}
    return values | {
        "mini-batch size": str(recipe["batch_size"] // group),
        "clip range": f"{options['epsilon']} to {options['epsilon_high']}",
        "rollouts per prompt": str(group),
        "KL coefficient": f"{SETTINGS[recipe['setting']].kl:g}",
        "entropy coefficient": f"{options.get('entropy_coef', 0):g}",
        "steps / epochs": f"{recipe['steps'] * recipe['batch_size'] // a_round} steps",
    }
