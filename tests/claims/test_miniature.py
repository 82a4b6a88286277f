"""The controlled study's evidence: known effects of a made-up record, and loops over its tables."""

import made_up_study
import numpy as np
import pandas as pd
import pytest

from mathtransfer import GROUPS
from mathtransfer.claims import by_base, intervals, ledger, miniature, transfer
from mathtransfer.miniature.families import FAMILIES
from mathtransfer.study.record import Record

SFT, RL = miniature.SETTINGS
OWN = "off-policy SFT, own style"


@pytest.fixture(scope="module")
def record() -> Record:
    """All bases with two seeds; a few settings, one of them with other values too, which no claim is about."""
    few = {"on-policy SFT": [""], RL: ["", "steps=300"], SFT: [""], OWN: [""]}
    cells = {
        name: cell
        for name, cell in made_up_study.cells().items()
        if cell.seed < 2 and ";".join(f"{k}={v}" for k, v in cell.changes.items()) in few.get(cell.setting, [])
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_study, "cells", lambda *_: cells)
        return made_up_study.make(questions=40)


@pytest.fixture(scope="module")
def parts(record):
    return by_base.in_parts(record, draws=50)


def bases_of(record: Record, kind: str) -> list[str]:
    return sorted(set(record.runs.loc[record.runs["kind"] == kind, "base"]))


def of_bases(record: Record, bases: list[str]) -> Record:
    runs = record.runs[record.runs["base"].isin(bases)]
    return Record(*(table[table["run"].isin(runs["run"])] for table in vars(record).values()))


def judged(parts) -> pd.DataFrame:
    found = {part: miniature.study(scores, kind) for part, (kind, scores) in parts.items()}
    return ledger.judge_parts("miniature", found).set_index(["part", "statistic", "run"])


@pytest.fixture(scope="module")
def rows(parts) -> pd.DataFrame:
    return judged(parts)


def gains(record: Record, part: str) -> dict[tuple[str, str, str], float]:
    """Base, setting and benchmark -> the mean gain over seeds, from the record's tables."""
    table = record.answers
    if part.endswith("equal format"):
        in_format = record.formats["benchmark"].map(
            lambda name: "at once" if FAMILIES[name].group == "non" else "in steps"
        )
        table = record.formats[record.formats["format"] == in_format]
    scores = (100 * table.groupby(["run", "benchmark"])["right"].mean()).to_dict()
    runs = record.runs[(record.runs["changes"] == "") & (record.runs["setting"] != "base")]
    return {
        (base, setting, name): float(np.mean([scores[run, name] - scores[base, name] for run in own["run"]]))
        for (base, setting), own in runs.groupby(["base", "setting"])
        for name in FAMILIES
    }


@pytest.mark.parametrize("part", ["elicitable bases, natural", "settled bases, equal format"])
def test_values_are_those_of_loops_over_the_record(record, rows, part):
    kind = part.partition(" ")[0]
    bases = bases_of(record, kind)
    by = gains(record, part)

    def mean(setting, names, of=bases):
        return np.mean([by[base, setting, name] for base in of for name in names])

    groups = {group: [n for n, f in FAMILIES.items() if group in (f.group, f.distance)] for group in (*GROUPS, "far")}
    found = rows.loc[part]["value"]
    for sft in (SFT, OWN):
        for group in GROUPS:
            expected = mean(RL, groups[group]) - mean(sft, groups[group])
            assert found[f"rl_less_sft_{group}", sft] == pytest.approx(expected)
        assert found["rl_less_sft_far", sft] == pytest.approx(mean(RL, groups["far"]) - mean(sft, groups["far"]))
        for group in ("other", "non"):
            least = min(mean(RL, groups[group], [base]) - mean(sft, groups[group], [base]) for base in bases)
            assert found[f"rl_less_sft_{group}_every_base", sft] == pytest.approx(least)
        assert found["sft_least_gain_other", sft] == pytest.approx(min(mean(sft, [name]) for name in groups["other"]))
        assert found["sft_largest_gain_other", sft] == pytest.approx(max(mean(sft, [name]) for name in groups["other"]))
        assert found["sft_gain_non", sft] == pytest.approx(mean(sft, groups["non"]))
    assert found["rl_gain_non", RL] == pytest.approx(mean(RL, groups["non"]))
    assert found["rl_second_least_gain_non", RL] == pytest.approx(sorted(mean(RL, [n]) for n in groups["non"])[1])
    leads = [mean(RL, FAMILIES) - mean(sft, FAMILIES) for sft in (SFT, OWN)]
    assert found["rl_balance_lead_least", "both SFT models"] == pytest.approx(min(leads))


def test_domain_indices_are_those_of_the_index_on_each_base(record, rows):
    """Every model's index from `transfer.transferability`, with the pool of all models tuned on its base."""
    found = []
    for base in bases_of(record, "settled"):
        runs = record.runs[(record.runs["base"] == base) & (record.runs["changes"] == "")]
        own = record.scores[record.scores["run"].isin(runs["run"])].rename(columns={"run": "model"})
        index = transfer.transferability(own.drop(columns="stderr"), dict.fromkeys(set(own["model"]) - {base}, base))
        own_index = index[index["metric"] == "domain index"].assign(base=base)
        found.append(own_index.assign(setting=own_index["model"].map(runs.set_index("run")["setting"])))
    means = pd.concat(found).groupby(["setting", "group", "base"])["value"].mean().groupby(["setting", "group"]).mean()
    values = rows.loc["settled bases, natural"]["value"]
    for name, group in (("rl_di_math", "math"), ("rl_di_other", "other"), ("rl_di_non", "non")):
        assert values[name, RL] == pytest.approx(means[RL, group])
    for sft in (SFT, OWN):
        assert values["sft_di_math", sft] == pytest.approx(means[sft, "math"])


def test_known_effects_have_their_verdicts(rows):
    """RL lifts other reasoning, SFT in the foreign style loses there; far more so in natural answers."""
    for part in by_base.PARTS:
        verdicts = rows.loc[part]["verdict"]
        assert verdicts["rl_less_sft_other", SFT] == "reproduced"
        if part.endswith("natural"):
            assert verdicts["rl_less_sft_other_every_base", SFT] == "reproduced"
        assert verdicts["rl_di_math", RL] == "reproduced"
    assert len(rows) == 4 * 28  # S1 to S9


def test_one_base_of_a_kind_decides_nothing_about_bases(record):
    one = of_bases(record, ["settled-0"])
    rows = judged(by_base.in_parts(one, draws=50))
    assert set(rows.index.unique("part")) == {"settled bases, natural", "settled bases, equal format"}
    every_base = rows.index.get_level_values("statistic").str.endswith("every_base")
    assert np.isinf(rows.loc[~every_base, ["low", "high"]]).all(axis=None)
    assert set(rows.loc[~every_base, "verdict"]) == {"too little data"}
    assert not every_base.any()  # one base says nothing about other ones


def test_settings_that_were_not_trained_have_no_rows(record):
    runs = record.runs[record.runs["setting"].isin(["base", RL, SFT])]
    few = Record(*(table[table["run"].isin(runs["run"])] for table in vars(record).values()))
    rows = judged(by_base.in_parts(few, draws=50))
    assert set(rows.index.unique("run")) == {RL, SFT}
    without = few.runs[few.runs["setting"] != RL]
    none = Record(*(table[table["run"].isin(without["run"])] for table in vars(few).values()))
    assert all(not miniature.study(scores, kind) for kind, scores in by_base.in_parts(none, draws=5).values())


def test_the_index_of_several_bases_is_a_quotient_of_means(parts, rows):
    kind, scores = parts["settled bases, natural"]
    table = miniature.indices(scores, kind).set_index(["setting", "group"])
    di = rows.loc["settled bases, natural"]["value"]
    assert table.loc[(RL, "non"), "value"] == pytest.approx(100 * di["rl_di_non", RL] / di["rl_di_math", RL])
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_gains_are_means_over_bases(record, parts):
    kind, scores = parts["elicitable bases, natural"]
    table = miniature.gains(scores, kind).set_index(["setting", "group"])["value"]
    by = gains(record, "natural")
    own = [by[base, OWN, name] for base in bases_of(record, "elicitable") for name in ("tracing", "science")]
    assert table[OWN, "near"] == pytest.approx(np.mean(own))
    assert table[OWN, "other"] == pytest.approx((table[OWN, "near"] + table[OWN, "far"]) / 2)


def test_a_quotient_has_the_ends_at_which_the_difference_is_no_longer_clear():
    a, b = np.array([3.0, 4.0, 5.5]), np.array([6.0, 7.0, 8.5])
    questions = np.array([[0.2, 0.1], [0.1, 0.3]])
    value, low, high = intervals.quotient_interval(a, b, questions)
    assert value == pytest.approx(a.mean() / b.mean())
    for end, inside in ((low, 1), (high, -1)):
        for t, is_in in ((end + inside * 1e-6, True), (end - inside * 1e-6, False)):
            variance = questions[0, 0] - 2 * t * questions[0, 1] + t**2 * questions[1, 1]
            _, least, most = intervals.seed_interval(a - t * b, variance)
            assert (least <= 0 <= most) == is_in
    assert intervals.quotient_interval(a, [1.0, -1.0, 0.5], questions)[1:] == (-np.inf, np.inf)
