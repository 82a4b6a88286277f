"""The paper's own tables as data frames (arXiv 2507.00432v2)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent / "paper"


def table(name: str) -> pd.DataFrame:
    """One of the paper's tables as printed, by the name of its file.

    Raises:
        ValueError: there is no such table.
    """
    path = FOLDER / f"{name}.csv"
    if not path.is_file():
        raise ValueError(
            f"unknown table {name!r}: expected one of {', '.join(sorted(p.stem for p in FOLDER.glob('*.csv')))}"
        )
    return pd.read_csv(path)


def gains() -> pd.DataFrame:
    """Every tuned model's scores beside its base's: `model, base, method, group, benchmark, score, base_score, gain`.

    Scores in percent, gains in percentage points (Tables 9 to 11). Models that are themselves bases are left out, and
    the two Qwen3-14B instruct models, which were not tuned on mathematics alone.
    """
    scores, models = table("scores"), table("models")
    tuned = models[models["method"].isin(["SFT", "RL"])][["model", "base", "method"]]
    base_scores = scores.rename(columns={"model": "base", "score": "base_score"})
    joined = tuned.merge(scores, on="model").merge(base_scores, on=["base", "group", "benchmark"])
    return joined.assign(gain=joined["score"] - joined["base_score"])
