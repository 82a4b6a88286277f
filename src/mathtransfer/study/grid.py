"""The grid of the controlled study: its cells, and how large everything is in a tier.

The protocol (config/study.yaml) says what is trained, on which bases, with which seeds, and at which sizes. A tier
(config/tiers.yaml) says which of these cells it runs, and which sizes are others. No value stands in both.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from mathtransfer import runs, shipped
from mathtransfer.miniature import traces
from mathtransfer.training.settings import SETTINGS

_STUDY, _TIERS = "config/study.yaml", "config/tiers.yaml"
SHIPPED = runs.PACKAGE / "miniature" / "bases"
BUILT = Path("_build/bases")  # where bases that do not ship are pre-trained
MEASURED = ("evaluate", "latent_drift", "token_drift")  # what is measured of a trained model, each in a run of its own
_PAGES = ("report", "rejection")  # run notebooks that are only shown
_GIVEN = ("model", "label", "seed", "out")  # parameters of `train` that a cell itself says
_PART = ("settings", "bases", "seeds", "changes")
_GRIDS = ("grid", "pilot", "larger")  # of the protocol


@dataclass(frozen=True)
class Cell:
    """One training run: a setting on a base with a seed, some of whose parameters may be changed.

    `parameters` are those of the notebook `train`, but for the base, the seed and where the run goes; a `teacher` is
    called as the protocol calls it.
    """

    setting: str
    base: str
    seed: int
    changes: dict[str, object]
    parameters: dict[str, object]

    @property
    def name(self) -> str:
        """What the run's folders are called, such as `on-policy-RL--settled-0--3--learning_rate=0.001`."""
        changed = (f"{name}={value}" for name, value in self.changes.items())
        return "--".join([_plain(self.setting), self.base, str(self.seed), *changed])

    @property
    def taught_by(self) -> str | None:
        """The run whose model answers for this one: of another setting, on the same base with the same seed."""
        teacher = self.parameters.get("teacher", "")
        if teacher in ("", "base", *traces.TEACHERS):
            return None
        return Cell(teacher, self.base, self.seed, {}, {}).name


@dataclass(frozen=True)
class Tier:
    """What one tier runs.

    `cells` by name, in the protocol's order; `sizes`, the parameters of every kind of run but training; `varying`, the
    parameters of `train` that are not the same in the whole protocol; `html` and `record`, where the book and the
    record go.
    """

    name: str
    html: str
    record: str
    cells: dict[str, Cell]
    sizes: dict[str, dict]
    varying: list[str]

    @property
    def bases(self) -> list[str]:
        return list(dict.fromkeys(cell.base for cell in self.cells.values()))

    @property
    def runs(self) -> dict[str, list[str]]:
        """The kinds of run and the names of each: every cell is trained and measured, every base evaluated too."""
        trained = list(self.cells)
        return {"train": trained, **dict.fromkeys(MEASURED, trained), "evaluate": [*self.bases, *trained]}


def base_folder(base: str) -> Path:
    """The folder of a base that ships with the package, or else where it is pre-trained."""
    shipped = SHIPPED / base
    return shipped if shipped.is_dir() else BUILT / "runs" / "pretrain" / base


def read_bases(root: str | Path = ".") -> dict[str, dict]:
    """The protocol's bases by name, such as `settled-0` or `settled-0-4M`: the parameters of the notebook `pretrain`.

    Raises:
        ValueError: there is no such parameter; the message says where it stands and what is allowed.
    """
    study = _read(root, _STUDY)
    return _pretrained(root, study["bases"], "seeds", {"": {}, **study["larger_bases"]})


def read_rejected(root: str | Path = ".") -> dict[str, dict]:
    """Bases that were pre-trained too and broke a bound, as `read_bases` has the others."""
    return _pretrained(root, _read(root, _STUDY)["bases"], "rejected", {"": {}})


def _pretrained(root: str | Path, kinds: dict[str, dict], field: str, sizes: dict[str, dict]) -> dict[str, dict]:
    known, found = _parameters(root, "pretrain"), {}
    for kind, (size, larger) in itertools.product(kinds, sizes.items()):
        own = {name: value for name, value in kinds[kind].items() if name not in ("seeds", "rejected")} | larger
        _check(_STUDY, f"parameter of {kind} bases {size}".strip(), own, known)
        for seed in kinds[kind][field]:
            found["-".join(filter(None, [kind, str(seed), size]))] = {"kind": kind, "seed": seed, **own}
    return found


def read_bounds(root: str | Path = ".") -> dict:
    """The bounds by which the protocol accepts a base, see `acceptance.broken`."""
    return _read(root, _STUDY)["bounds"]


def read_tier(name: str, root: str | Path = ".") -> Tier:
    """A tier of the repository in `root`, or of what ships with the package if there is none.

    Raises:
        ValueError: a name or a value is not what it may be; the message says where it stands and what is allowed.
    """
    study, tiers = _read(root, _STUDY), _read(root, _TIERS)
    _check(_TIERS, "tier", [name], tiers)
    tier = tiers[name]
    _check(_TIERS, f"field of {name}", tier, ["html", "record", "cells", "train", *MEASURED, *_PAGES])
    sizes = {kind: study.get(kind, {}) | tier.get(kind, {}) for kind in (*MEASURED, *_PAGES)}
    for kind in ("train", *sizes):
        known = _parameters(root, kind)
        _check(_STUDY, f"parameter in {kind}", study.get(kind, {}), known)
        _check(_TIERS, f"parameter in {name}.{kind}", tier.get(kind, {}), known)
    changeable = [name for name in _parameters(root, "train") if name not in _GIVEN]
    _check_settings(study["settings"], changeable)
    whole, field = _cells(_STUDY, "grid", study["grid"], study, changeable), f"{name}.cells"
    if isinstance(tier["cells"], str):
        _check(f"{_TIERS}, {field}", "part of the protocol", [tier["cells"]], _GRIDS)
        chosen = _cells(_STUDY, tier["cells"], study[tier["cells"]], study, changeable)
    else:
        chosen = _cells(_TIERS, field, tier["cells"], study, changeable)
        _check(f"{_TIERS}, {field}", f"cell of the grid in {_STUDY}", chosen, whole)
    _check(_STUDY, "base", sorted({cell.base for cell in chosen.values()}), read_bases(root))
    for cell in chosen.values():
        if cell.taught_by not in (None, *chosen):
            raise ValueError(f"{name}: {cell.name} needs the run {cell.taught_by} for its teacher: add it to the cells")
    varying = {key for own in study["settings"].values() for key in own}
    varying |= {key for cell in (whole | chosen).values() for key in cell.changes}
    cells = {key: _sized(cell, tier.get("train", {})) for key, cell in chosen.items()}
    return Tier(name, tier["html"], tier["record"], cells, sizes, sorted(varying))


def _read(root: str | Path, path: str) -> dict:
    return yaml.safe_load(shipped.find(Path(root, path)).read_text())


def _check(where: str, what: str, found: Iterable, allowed: Iterable) -> None:
    allowed = sorted(map(str, allowed))
    for value in found:
        if str(value) not in allowed:
            raise ValueError(f"{where}: unknown {what} {value!r}: expected one of {', '.join(allowed)}")


def _parameters(root: str | Path, kind: str) -> list[str]:
    """The parameters that a run notebook takes."""
    cells = json.loads(shipped.find(Path(root, "notebooks", "runs", f"{kind}.ipynb")).read_text())["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return [target.id for statement in ast.parse("".join(cell["source"])).body for target in statement.targets]


def _check_settings(settings: dict[str, dict], changeable: list[str]) -> None:
    for name, own in settings.items():
        _check(_STUDY, f"parameter in settings.{name}", own, changeable)
        _check(_STUDY, f"setting in settings.{name}", [own.get("setting")], SETTINGS)
        if "teacher" in own:
            _check(_STUDY, f"teacher in settings.{name}", [own["teacher"]], ["base", *traces.TEACHERS, *settings])
    if len(set(map(_plain, settings))) < len(settings):
        raise ValueError(f"{_STUDY}: two settings differ only in characters that a folder's name leaves out")


def _cells(file: str, field: str, parts: list[dict], study: dict, changeable: list[str]) -> dict[str, Cell]:
    """The cells of some parts of a grid by name, each once."""
    found = {}
    for number, part in enumerate(parts):
        where = f"{file}, {field}[{number}]"
        _check(where, "field", part, _PART)
        if missing := sorted({*_PART[:3]} - part.keys()):
            raise ValueError(f"{where}: there is no field {missing[0]!r}: a part has {', '.join(_PART[:3])}")
        settings = list(study["settings"]) if part["settings"] == "all" else part["settings"]
        changes = part.get("changes", {})
        lists = {"settings": settings, "bases": part["bases"], "seeds": part["seeds"], **changes}
        for name, values in lists.items():
            if not isinstance(values, list):
                raise ValueError(f"{where}: {name} is {values!r}: expected a list")
        _check(where, "setting", settings, study["settings"])
        _check(where, "parameter in changes", changes, changeable)
        if wrong := [seed for seed in part["seeds"] if not isinstance(seed, int)]:
            raise ValueError(f"{where}: a seed is {wrong[0]!r}: expected a whole number")
        for setting, base, seed, *values in itertools.product(*lists.values()):
            own = study["train"] | study["settings"][setting]
            changed = {key: value for key, value in zip(changes, values, strict=True) if own.get(key) != value}
            cell = Cell(setting, base, seed, changed, own | changed)
            found[cell.name] = cell
    return found


def _sized(cell: Cell, sizes: dict) -> Cell:
    return Cell(cell.setting, cell.base, cell.seed, cell.changes, cell.parameters | sizes)


def _plain(setting: str) -> str:
    return re.sub(r"[^\w.]+", "-", setting.replace("'", "")).strip("-")
