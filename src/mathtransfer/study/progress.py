"""What is left of a study, and how long it will take.

Snakemake says what is left. How long a run takes is known from finished runs of the same kind and setting, of this
study or of its record; failing that, from those of the same kind. A training run takes its time for each update.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from mathtransfer.study.grid import Tier, base_folder

_RESUME = 6  # times the weights: two checkpoints are kept to resume from, each of the weights and AdamW's two moments
_OF_A_RUN = re.compile(r"  (\w+) run=(\S+): (started|done|failed)( in \d+ s)?\n")  # what the Snakefile prints
_Run = tuple[str, str]  # kind and name


def left_to_run(summary: Iterable[str]) -> list[_Run]:
    """Every run that Snakemake would run now, from the lines of `snakemake --summary`."""
    rows = csv.DictReader((line for line in summary if "\t" in line), delimiter="\t")
    paths = [Path(row["output_file"]) for row in rows if row["plan"] == "update pending"]
    return [(path.parts[-3], path.parts[-2]) for path in paths if path.name == "manifest.json"]


class _Durations:
    """What runs are expected to take.

    Args:
        root: the study's folder, where Snakemake measures every run in `timings/`.
    """

    def __init__(self, tier: Tier, root: Path):
        self._tier = tier
        self._own: dict[tuple[str, ...], list[float]] = {}
        self._recorded: dict[tuple[str, ...], list[float]] = {}
        for run in [(kind, name) for kind, names in tier.runs.items() for name in names]:
            if (path := root / "timings" / f"{'--'.join(run)}.tsv").is_file():
                self.add(run, pd.read_csv(path, sep="\t").loc[0, "s"])
        if (path := Path(tier.record, "runs.csv")).is_file():
            for row in pd.read_csv(path).to_dict("records"):
                for kind in tier.runs:
                    if (seconds := row[f"{kind}_seconds"]) > 0:  # a base has none for training
                        updates = row["updates"] if kind == "train" else 1
                        _append(self._recorded, kind, row["setting"], seconds / updates)

    def add(self, run: _Run, seconds: float) -> None:
        """One more run is finished."""
        _append(self._own, run[0], self._setting(run[1]), seconds / self._amount(run))

    def expected(self, run: _Run) -> float | None:
        """Seconds, or None if no run of this kind has ever finished."""
        for key in ((run[0], self._setting(run[1])), (run[0],)):
            for known in (self._own, self._recorded):
                if key in known:
                    return self._amount(run) * sum(known[key]) / len(known[key])
        return None

    def _setting(self, name: str) -> str:
        return self._tier.cells[name].setting if name in self._tier.cells else "base"

    def _amount(self, run: _Run) -> int:
        return self._tier.cells[run[1]].parameters["steps"] if run[0] == "train" else 1


def plan(tier: Tier, root: Path, left: list[_Run], cores: int) -> str:
    """What would run, how long it would take on some cores, and how much disk it would need."""
    durations, of_all = _Durations(tier, root), sum(map(len, tier.runs.values()))
    kinds = Counter(kind for kind, _ in left)
    if not left:
        return f"All {of_all} runs are finished"
    lines = [f"{len(left)} of {of_all} runs are left: " + ", ".join(f"{kinds[kind]} {kind}" for kind in kinds)]
    cells = [tier.cells[name] for kind, name in left if kind == "train"]
    if cells:
        rows = pd.DataFrame({"setting": [cell.setting for cell in cells], "base": [cell.base for cell in cells]})
        lines += ["", "Training runs that are left, by setting and base:"]
        lines += [pd.crosstab(rows["setting"], rows["base"], margins=True, margins_name="all").to_string(), ""]
    expected = [durations.expected(run) for run in left]
    unknown = sorted({kind for (kind, _), seconds in zip(left, expected, strict=True) if seconds is None})
    known = sum(seconds for seconds in expected if seconds is not None) / cores
    if len(unknown) == len(kinds):
        lines.append("Time: unknown, since no run has finished yet and there is no record of durations")
    else:
        without = f", without {', '.join(unknown)}: none has finished yet" if unknown else ""
        lines.append(f"Time: about {_spoken(known)} on {cores} cores{without}")
    lines.append(f"Disk: {_disk(tier, root, kinds, cores)}")
    return "\n".join(lines)


def follow(tier: Tier, root: Path, left: list[_Run], cores: int, lines: Iterable[str]) -> Iterator[str]:
    """The lines that Snakemake prints, but for a line with the whole study's progress whenever a run ends."""
    durations, waiting, running, ended = _Durations(tier, root), set(left), {}, Counter()
    for line in lines:
        if not (found := _OF_A_RUN.fullmatch(line)) or (run := (found[1], found[2])) not in waiting | running.keys():
            yield line
            continue
        if found[3] == "started":
            waiting.discard(run)
            running[run] = datetime.now()
            continue
        waiting.discard(run)  # lines of two runs may run into each other, so that no start was read
        seconds = (datetime.now() - running.pop(run, datetime.now())).total_seconds()
        ended[found[3]] += 1
        if found[3] == "done":
            durations.add(run, seconds)
        failed = f", {ended['failed']} failed" if ended["failed"] else ""
        yield (
            f"{datetime.now():%H:%M}  {' '.join(run)}: {found[3]} in {_spoken(seconds)}; {ended['done']} done{failed}, "
            f"{len(running)} running, {len(waiting)} left; {_end(durations, waiting, running, cores)}\n"
        )


def _end(durations: _Durations, waiting: set[_Run], running: dict[_Run, datetime], cores: int) -> str:
    """When all will be done, as far as is known."""
    now, seconds, unknown = datetime.now(), 0.0, set()
    for run in [*waiting, *running]:
        if (expected := durations.expected(run)) is None:
            unknown.add(run[0])
        else:
            seconds += max(0.0, expected - (now - running.get(run, now)).total_seconds())
    end = now + timedelta(seconds=seconds / cores)
    day = "" if end.date() == now.date() else f"{end:%A} "
    without = f", not counting {', '.join(sorted(unknown))}" if unknown else ""
    return f"end about {day}{end:%H:%M}{without}"


def _disk(tier: Tier, root: Path, kinds: Counter, cores: int) -> str:
    """Measured on finished runs; before that, only checkpoints are known: they have a base's weights in float32."""
    weights = max(map(_weights_size, tier.bases))
    sizes = {"train": weights}
    for kind in tier.runs:
        folders = [path.parent for path in (root / "runs" / kind).glob("*/manifest.json")]
        files = [file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()]
        if files:
            sizes[kind] = sum(files) / len(folders)
    total = sum(sizes.get(kind, 0) * number for kind, number in kinds.items())
    unknown = [kind for kind in kinds if kind not in sizes]
    without = f", without {', '.join(unknown)}: none has finished yet" if unknown else ""
    more = _RESUME * weights * cores
    return f"about {total / 1e6:,.0f} MB{without}; {more / 1e6:,.0f} MB more while {cores} runs train"


def _weights_size(base: str) -> int:
    """Bytes of a base's weights in float32; none if it is still to be pre-trained."""
    path = base_folder(base) / "model.safetensors"
    if not path.is_file():
        return 0
    with safe_open(path, "numpy") as file:
        return 4 * sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _append(known: dict[tuple[str, ...], list[float]], kind: str, setting: str, seconds: float) -> None:
    for key in ((kind, setting), (kind,)):
        known.setdefault(key, []).append(seconds)


def _spoken(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"
