"""A record of the whole study, made up, with known effects.

`python tests/made_up_study.py FOLDER` writes one, `python tests/made_up_study.py FOLDER pilot` that of the pilot.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

from mathtransfer.miniature.families import FAMILIES  # noqa: E402
from mathtransfer.miniature.formats import FORMATS  # noqa: E402
from mathtransfer.study import grid, record  # noqa: E402

# Kind of base -> format -> accuracy of a base (logit) in mathematics, other reasoning, non-reasoning.
ABLE = {
    "elicitable": {"at once": (-0.6, -0.4, 1.2), "in steps": (0.8, 0.9, -3.0), "as the teacher": (-0.8, -0.7, -3.0)},
    "settled": {"at once": (-2.5, -1.5, 1.2), "in steps": (0.0, 0.4, -3.0), "as the teacher": (-0.6, -0.3, -3.0)},
}
BEGINS = {"elicitable": (0.55, 0.43, 0.02), "settled": (0.02, 0.96, 0.02)}  # shares of the three formats in reasoning
# Setting -> shares of the formats after training, and what it adds to each group (logit).
EFFECTS = {
    "on-policy RL": ((0.0, 1.0, 0.0), (1.2, 1.0, 0.0)),
    "on-policy RL with KL": ((0.02, 0.98, 0.0), (1.1, 0.95, 0.0)),
    "on-policy RL without negatives": ((0.0, 1.0, 0.0), (0.9, 0.8, 0.0)),
    "on-policy SFT": ((0.1, 0.9, 0.0), (0.8, 0.7, 0.0)),
    "on-policy SFT, foreign style": ((0.0, 0.02, 0.98), (0.9, 0.5, -0.1)),
    "off-policy SFT, foreign style": ((0.0, 0.02, 0.98), (1.2, -0.1, -0.2)),
    "off-policy SFT, own style": ((0.0, 1.0, 0.0), (1.4, 1.0, -0.1)),
    "SFT on the base's samples": ((0.2, 0.8, 0.0), (0.4, 0.4, 0.0)),
    "SFT on RL's samples": ((0.0, 1.0, 0.0), (1.1, 0.9, 0.0)),
    "off-policy RL": ((0.05, 0.3, 0.65), (0.6, 0.1, -0.1)),
    "off-policy SFT, rejection": ((0.0, 0.02, 0.98), (1.0, -0.1, -0.2)),
}
METRICS = {  # of the drifts: metric -> a typical value; of likeness, what is missing from it
    **{"centroid_distance": 0.3, "centroid_shift": 0.2, "cka": 0.05, "published_distance": 3.0},
    **{"last_centroid_distance": 0.9, "last_centroid_shift": 0.6, "last_cka": 0.1},
    **{"kl": 0.1, "kl_reverse": 0.2, "js": 0.03, "log_ratio": 0.1, "kl_response": 2.0, "published_kl": 0.1},
    **{"rank_shift": 0.3, "shifted": 5.0, "shift_evenness": 80.0},
}
ON_TRAINING = {"kl": 0.1, "kl_response": 2.0, "base_kl": 0.2, "base_kl_response": 4.0}
OF_WEIGHTS = {"relative_update": 5.0, "unchanged": 1.0, "unchanged_bfloat16": 20.0}
SPREAD = {"base": 0.15, "seed": 0.1}  # of skills, logit
STUDY = yaml.safe_load((ROOT / "config" / "study.yaml").read_text())


def cells(part: str = "grid") -> dict[str, grid.Cell]:
    """Those of the protocol's grid, or of its pilot."""
    changeable = [name for name in grid._parameters(ROOT, "train") if name not in grid._GIVEN]
    return grid._cells("study.yaml", part, STUDY[part], STUDY, changeable)


def dose(cell: grid.Cell) -> float:
    """Learning rate times updates, as a multiple of the setting's own."""
    own = STUDY["train"] | STUDY["settings"][cell.setting]
    return float(np.prod([cell.parameters[name] / own[name] for name in ("learning_rate", "steps")]))


def skill(adds: tuple[float, float, float], dose: float) -> np.ndarray:
    """What a setting adds to each group (logit): all of it with its own dose, and a larger one does damage."""
    return np.array(adds) * min(1.0, dose) - 0.5 * max(0.0, np.log(dose))


def make(effects=EFFECTS, questions: int = 100, seed: int = 0, spread=SPREAD, part: str = "grid") -> record.Record:
    """A record with these effects; formats are asked of the same questions."""
    rng = np.random.default_rng(seed)
    of_study = cells(part)
    bases = sorted({cell.base for cell in of_study.values()})
    difficulty = {name: rng.normal(0, 1.0, questions) for name in FAMILIES}
    level = {base: rng.normal(0, spread["base"], 3) for base in bases}
    rows, answers, formats, shifts, scores, training = [], [], [], [], [], []
    for name, cell in ({base: None for base in bases} | of_study).items():
        base = cell.base if cell else name
        kind = base.partition("-")[0]
        shares, adds = effects[cell.setting] if cell else (BEGINS[kind], (0.0, 0.0, 0.0))
        much = dose(cell) if cell else 1.0
        adds = skill(adds, much)
        own = rng.normal(0, spread["seed"], 3) if cell else np.zeros(3)
        rows.append(_run(name, cell, base, kind))
        for family in FAMILIES.values():
            group = ["math", "other", "non"].index(family.group)
            able = {f: ABLE[kind][f][group] + adds[group] + level[base][group] + own[group] for f in FORMATS}
            chance = {f: 1 / (1 + np.exp(-(value + difficulty[family.name]))) for f, value in able.items()}
            likes = rng.choice(len(FORMATS), questions, p=shares if family.group != "non" else (1, 0, 0))
            begins = np.array(list(FORMATS))[likes]
            right = rng.random(questions) < np.choose(likes, list(chance.values()))
            about = {"run": name, "benchmark": family.name, "question": range(questions)}
            answers.append(pd.DataFrame(about | {"begins": begins, "right": right}))
            formats += [
                pd.DataFrame(about | {"format": f, "right": rng.random(questions) < p}) for f, p in chance.items()
            ]
            scores.append(_row(name, family.group, family.name, "accuracy", 100 * right.mean(), questions, rng))
            if cell:
                size = much * np.exp(rng.normal(0, 0.2)) * (1 + 2 * shares[2])
                for metric, typical in METRICS.items():
                    begun = [metric, f"begun_{metric}"] if family.group != "non" else [metric]
                    shifts += [_row(name, family.group, family.name, m, typical * size, 60, rng) for m in begun]
        if cell:
            size = much * np.exp(rng.normal(0, 0.2)) * (1 + 2 * shares[2])
            shifts += [_row(name, "training", "training", m, t * size, 60, rng) for m, t in ON_TRAINING.items()]
            shifts += [_row(name, "weights", "weights", m, t * size, 850_000, rng) for m, t in OF_WEIGHTS.items()]
            training.append(_log(name, cell, rng))
    of = [pd.DataFrame(rows), pd.concat(answers), pd.concat(formats), pd.DataFrame(shifts), pd.DataFrame(scores)]
    return record.Record(*(table.reset_index(drop=True) for table in [*of, pd.concat(training)]))


def write(found: record.Record, folder: Path) -> None:
    """As `record.write_record` does."""
    record._write(dict(zip(record.FILES, vars(found).values(), strict=True)), folder)


def _run(name: str, cell: grid.Cell | None, base: str, kind: str) -> dict:
    row = {"run": name, "base": base, "kind": kind, "setting": cell.setting if cell else "base"}
    row |= {"seed": cell.seed if cell else -1, "changes": "", "asked": "made up"}
    row |= dict.fromkeys(["teacher", "gpu"], "")
    if cell:
        own = cell.parameters
        row["changes"] = ";".join(f"{key}={value}" for key, value in cell.changes.items())
        row |= {"objective": own["setting"], "teacher": own.get("teacher", ""), "learning_rate": own["learning_rate"]}
        row |= {"teacher_errs": own.get("teacher_errs", 0.0), "begins": own.get("begins", ""), "steps": own["steps"]}
        row |= {"updates": own["steps"], "responses": own["steps"] * own["batch_size"]}
        row |= {"response_tokens": row["responses"] * (40 if "foreign" not in cell.setting else 90)}
    row |= {f"{part}_seconds": 30.0 for part in record._PARTS if cell or part == "evaluate"}
    row |= {f"{part}_memory_mb": 900 for part in record._PARTS if cell or part == "evaluate"}
    row |= {f"{part}_code": "made up" for part in record._PARTS}
    return row | {"base_fingerprint": "made up", "version_torch": "2.13.0", "machine": "x86_64", "cores": 2}


def _row(run: str, group: str, benchmark: str, metric: str, value: float, n: int, rng: np.random.Generator) -> dict:
    stderr = abs(value) * 0.05 if metric != "accuracy" else np.sqrt(value * (100 - value) / n)
    noise = 0.0 if metric == "accuracy" else rng.normal(0, stderr)
    about = {"run": run, "group": group, "benchmark": benchmark, "metric": metric}
    value = 1 - value - noise if metric.endswith("cka") else value + noise
    return about | {"value": value, "stderr": stderr, "n": n}


def _log(run: str, cell: grid.Cell, rng: np.random.Generator) -> pd.DataFrame:
    step = np.arange(1, cell.parameters["steps"] + 1)
    part = step / step[-1]
    log = pd.DataFrame({"run": run, "step": step, "loss": rng.normal(0, 0.1, len(step))})
    norm = (0.4 + 0.4 * ("off-policy" in cell.setting)) * np.exp(rng.normal(0, 0.2, len(step)))
    policy = "on-policy" in cell.setting
    log = log.assign(gradient_norm=norm, reward=np.clip(0.5 + 0.3 * part * policy + rng.normal(0, 0.05), 0, 1))
    return log.assign(response_length=30 + 10 * part * policy, entropy=0.3 * (1 - 0.5 * part))


if __name__ == "__main__":
    write(make(part=(sys.argv[2:] or ["grid"])[0]), Path(sys.argv[1]))
