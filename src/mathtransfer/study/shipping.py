"""The tables of a small finished study that ship with the package, so that chapters run from an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from mathtransfer.study.grid import Tier
from mathtransfer.study.record import FILES

# Run -> its tables that chapters read and that are small.
_TABLES = {"latent_drift": ["layers.csv", "shifts.csv", "weights.csv"], "token_drift": ["shifts.csv"]}
_TOKENS = "token_drift", "tokens.parquet"
# Columns that only the picture of single responses reads: they ship for the first question of each benchmark.
_OF_ONE_QUESTION = [
    *("kl_reverse", "js", "logp_tuned", "logp_base", "entropy_tuned", "entropy_base"),
    *("top_tuned", "top_tuned_p", "top_base", "top_base_p"),
]


def ship(tier: Tier, study: str | Path, folder: str | Path) -> int:
    """Copy what the chapters read of a finished study; the folder is made anew, and its parts are named as there.

    Args:
        study: the folder of the runs, such as `_build/mini`, of which `make book` has made all chapters.
        folder: where the tables go, such as `results/mini`.

    Returns:
        How many bytes they take.

    Raises:
        FileNotFoundError: the study is not finished.
    """
    study, folder = Path(study), Path(folder)
    names = [f"record/{name}" for name in FILES] + ["fresh.csv", "ledger.csv", "timings.csv"]
    names += [f"evidence/{path.name}" for path in sorted((study / "evidence").glob("*.csv"))]
    names += [f"runs/{kind}/{run}/{name}" for kind, own in _TABLES.items() for run in tier.cells for name in own]
    tokens = ["/".join(["runs", _TOKENS[0], run, _TOKENS[1]]) for run in tier.cells]
    if missing := [name for name in [*names, *tokens] if not (study / name).is_file()]:
        raise FileNotFoundError(f"{study} has no {missing[0]}: finish it with `make book TIER={tier.name}` first")
    shutil.rmtree(folder, ignore_errors=True)
    for name in [*names, *tokens]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(study / name, folder / name)
    for name in tokens:
        _thin(pd.read_parquet(study / name)).to_parquet(
            folder / name, index=False, compression="zstd", compression_level=19
        )
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _thin(tokens: pd.DataFrame) -> pd.DataFrame:
    """Every token, but what only the picture of single responses reads for the first question of a benchmark alone."""
    first = tokens["question"] == tokens.groupby("benchmark")["question"].transform("min")
    tokens = tokens.assign(**{name: tokens[name].where(first) for name in _OF_ONE_QUESTION})
    numbers = {name: "int32" for name in tokens if tokens[name].dtype == "int64"}
    return tokens.astype(numbers)
