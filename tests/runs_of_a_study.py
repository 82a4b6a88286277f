"""The finished runs of a small study, made up: what the run notebooks write, as far as a record reads it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mathtransfer import runs
from mathtransfer.study.grid import MEASURED, Cell, Tier

BENCHMARKS = {"boxes": "math", "truth": "other", "capitals": "non"}
WORDS = {"answer": "answer 7", "steps :": "steps : 3 + 4 = 7 . answer 7", "let me think .": "let me think . answer 7"}
PARAMETERS = {"setting": "on-policy RL", "learning_rate": 0.1, "steps": 3, "batch_size": 8}
VERSIONS = {"python": "3.11.5", "torch": "2.9.0"}


def tier(record: Path) -> Tier:
    cells = [Cell("RL", "settled-0", seed, {}, PARAMETERS) for seed in (0, 1)]
    faster = {"learning_rate": 0.2}
    cells.append(Cell("SFT, own", "settled-0", 0, faster, PARAMETERS | faster | {"teacher": "own"}))
    cells = {cell.name: cell for cell in cells}
    return Tier(
        "tiny", "", str(record), cells, {part: {} for part in MEASURED}, ["learning_rate", "setting", "teacher"]
    )


def write_runs(root: Path, of: Tier, questions: int = 40) -> None:
    """Every run of the tier with its manifest, its tables and the time that it took."""
    for kind, names in of.runs.items():
        for name in names:
            folder, rng = root / "runs" / kind / name, np.random.default_rng([*f"{kind} {name}".encode()])
            folder.mkdir(parents=True)
            cell = of.cells.get(name)
            asked = {"teacher": "", **cell.parameters} if cell else {}
            manifest = {"notebook": kind, "parameters": asked, "source": "", "peak_memory_mb": 500}
            hardware = {"machine": "x86_64", "cores": 2, "gpu": None}
            manifest |= {"base_fingerprint": "abc", "hardware": hardware, "versions": VERSIONS}
            (folder / "manifest.json").write_text(json.dumps(manifest))
            timing = root / "timings" / f"{kind}--{name}.tsv"
            timing.parent.mkdir(exist_ok=True)
            timing.write_text("s\tmax_rss\n12.5\t400\n")
            for file, table in _tables(kind, cell, rng, questions).items():
                table.to_csv(folder / file, index=False) if file.endswith(".csv") else table.to_parquet(folder / file)


def _tables(kind: str, cell: Cell | None, rng: np.random.Generator, questions: int) -> dict[str, pd.DataFrame]:
    if kind == "train":
        log = pd.DataFrame({"step": [1, 2, 3], "loss": rng.normal(size=3), "response_length": [5.5, 6.0, 6.25]})
        return {"log.csv": log.assign(setting=cell.setting, seed=cell.seed)}
    if kind == "evaluate":
        return {
            "scores.csv": _tidy("accuracy", rng),
            "samples.parquet": pd.concat([_answers(rng, questions), _answers(rng, questions).assign(sample=1)]),
            "formats.parquet": pd.concat([_answers(rng, questions // 2).assign(begins=words) for words in WORDS]),
        }
    return {"shifts.csv": _tidy({"latent_drift": "cka", "token_drift": "kl"}[kind], rng)}


def _tidy(metric: str, rng: np.random.Generator) -> pd.DataFrame:
    rows = [dict.fromkeys(runs.TIDY) | {"group": g, "benchmark": b, "metric": metric} for b, g in BENCHMARKS.items()]
    return pd.DataFrame(rows).assign(value=rng.normal(size=len(rows)), stderr=rng.random(len(rows)), n=40)


def _answers(rng: np.random.Generator, questions: int) -> pd.DataFrame:
    table = pd.DataFrame({"question": range(questions)}).merge(pd.DataFrame({"benchmark": list(BENCHMARKS)}), "cross")
    score = rng.integers(0, 2, len(table)).astype(float)
    return table.assign(sample=0, score=score, completion=rng.choice([*WORDS.values(), "iris", ""], len(table)))
