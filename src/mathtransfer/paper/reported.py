"""The paper's own tables as data frames (arXiv 2507.00432v2), and how far each printed score may be off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

# Section 2.2's models: RL first, then the two SFT models.
CONTROLLED_STUDY = [
    "UniReason-Qwen3-14B (RL)",
    "UniReason-Qwen3-14B-think (SFT)",
    "UniReason-Qwen3-14B-no-think (SFT)",
]
_FOLDER = Path(__file__).parent
ELSEWHERE = _FOLDER / "elsewhere"  # what the paper does not print


def table(name: str) -> pd.DataFrame:
    """One of the paper's tables as printed, by the name of its file.

    Raises:
        ValueError: there is no such table.
    """
    path = _FOLDER / f"{name}.csv"
    if not path.is_file():
        raise ValueError(
            f"unknown table {name!r}: expected one of {', '.join(sorted(p.stem for p in _FOLDER.glob('*.csv')))}"
        )
    return pd.read_csv(path)


def tuned() -> pd.DataFrame:
    """The 18 models tuned by SFT or RL: `model, hub_id, base, family, params_b, method, examples`, RL last.

    `examples` is the size of the training data, from the models' own pages (`training_data.csv`, whose column `what`
    says which); the paper prints it for its own models and for General-Reasoner only.
    """
    models = table("models").merge(pd.read_csv(ELSEWHERE / "training_data.csv"), on="model")
    return models.sort_values("method", ascending=False, kind="stable", ignore_index=True)


def bases() -> dict[str, str]:
    """Tuned model -> its base."""
    return dict(tuned().set_index("model")["base"])


def gains(scores: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every tuned model's scores beside its base's: `model, base, method, group, benchmark, score, base_score, gain`.

    Scores in percent, gains in percentage points. Models that are themselves bases are left out, and the two Qwen3-14B
    instruct models, which were not tuned on mathematics alone.

    Args:
        scores: `model, group, benchmark, score`; by default those of Tables 9 to 11.
    """
    scores = table("scores") if scores is None else scores
    base_scores = scores.rename(columns={"model": "base", "score": "base_score"})
    models = tuned()[["model", "base", "method"]]
    joined = models.merge(scores, on="model").merge(base_scores, on=["base", "group", "benchmark"])
    return joined.assign(gain=joined["score"] - joined["base_score"])


def standard_error(score: pd.Series, items: pd.Series, samples: pd.Series, between: float = 1.0) -> pd.Series:
    """How far a printed score may be off because a benchmark is a sample of items, percentage points.

    sqrt(p (1 - p) / items * (between + (1 - between) / samples)), with p drawn towards a half by two successes and two
    failures (Agresti and Coull), so that a score of 0 is not taken for certain.

    Args:
        score: percent.
        items: questions in the benchmark.
        samples: answers to each.
        between: the share of an answer's variance that lies between items. The tables do not tell. 1, the default, is
            the cautious end: a model always or never solves an item. At 0 all samples count as new items.
    """
    p = (score / 100 * items + 2) / (items + 4)
    return 100 * np.sqrt(p * (1 - p) / items * (between + (1 - between) / samples))


def scores(between: float = 1.0) -> pd.DataFrame:
    """Tables 9 to 11 as tidy scores: `model, group, benchmark, value, stderr, n` in percent, see `standard_error`."""
    items = pd.read_csv(ELSEWHERE / "benchmark_items.csv").rename(columns={"items": "n"})[["benchmark", "n"]]
    samples = table("benchmarks")[["benchmark", "samples"]]
    joined = table("scores").rename(columns={"score": "value"}).merge(items, on="benchmark").merge(samples)
    joined["stderr"] = standard_error(joined["value"], joined["n"], joined["samples"], between)
    return joined[["model", "group", "benchmark", "value", "stderr", "n"]]
