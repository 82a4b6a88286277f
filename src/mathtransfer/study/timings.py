"""What every notebook of a study took: Snakemake's seconds, and the memory of its kernel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mathtransfer import shipped

_KERNEL = "ipykernel_launcher"


def read_timings(study: str | Path) -> pd.DataFrame:
    """A row for every part that has run: a notebook, a run of one, or `book`, the rendering of the pages.

    Args:
        study: such as `_build/mini`, with Snakemake's measurements in `timings/`, and in `logs/` what the server of
            kernels/warm says of the memory of its programs, which Snakemake does not see. Where there is no such
            folder, `timings.csv` is read, in which a finished build leaves this table.

    Returns:
        `part, seconds, memory_mb`; of run notebooks `part` is the kind and the run, joined by two hyphens.
    """
    paths = sorted(Path(study, "timings").glob("*.tsv"))
    if not paths and (kept := shipped.find(Path(study, "timings.csv"))).is_file():
        return pd.read_csv(kept)
    rows = [(path.stem, *_measured(path, Path(study, "logs", f"{path.stem}.log.memory"))) for path in paths]
    return pd.DataFrame(rows, columns=["part", "seconds", "memory_mb"])


def _measured(path: Path, memory: Path) -> tuple[float, float]:
    measured = pd.read_csv(path, sep="\t").iloc[0]
    if not memory.is_file():
        return round(measured["s"], 1), round(measured["max_rss"])
    programs = pd.read_csv(memory, sep="\t", names=["module", "megabytes"])
    return round(measured["s"], 1), round(programs.loc[programs["module"] == _KERNEL, "megabytes"].max())
