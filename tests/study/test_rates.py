"""The rule of learning rates on scores that are written down here, and on the recorded pilot if there is one."""

from dataclasses import replace

import made_up_study
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from mathtransfer.study.rates import chosen_rates, read_pilot
from mathtransfer.study.record import Record

PILOT = read_pilot(ROOT / "results" / "pilot", ROOT)
RATES = [0.0001, 0.0003, 0.001, 0.003]
SCORES = {  # (setting, base, seed) -> mathematics at each rate
    ("RL", "elicitable-0", 100): [50, 70, 60, 20],
    ("RL", "settled-0", 100): [40, 50, 66, 20],
    ("RL", "settled-0", 101): [None, 90, None, None],  # tried at one rate only, so it does not count
    ("SFT", "elicitable-0", 100): [30, 55, 55, 50],
    ("SFT", "settled-0", 100): [30, 45, 45, 20],
}


def record(found: dict) -> Record:
    runs, scores = [], [{"run": "settled-0", "group": "math", "benchmark": "sums", "metric": "accuracy", "value": 99.0}]
    runs.append({"run": "settled-0", "base": "settled-0", "setting": "base", "seed": -1, "learning_rate": None})
    for (setting, base, seed), values in found.items():
        for rate, value in zip(RATES, values, strict=True):
            if value is None:
                continue
            run = f"{setting}--{base}--{seed}--{rate}"
            runs.append({"run": run, "base": base, "setting": setting, "seed": seed, "learning_rate": rate})
            by_benchmark = {("math", "sums"): value - 5, ("math", "boxes"): value + 5, ("other", "truth"): 100 - value}
            scores += [
                {"run": run, "group": group, "benchmark": name, "metric": "accuracy", "value": own}
                for (group, name), own in by_benchmark.items()
            ]
    nothing = pd.DataFrame()
    return Record(pd.DataFrame(runs), nothing, nothing, nothing, pd.DataFrame(scores), nothing)


def test_the_rate_with_the_highest_mathematics_over_bases_and_seeds_is_chosen_and_of_equal_ones_the_smaller():
    found = chosen_rates(record(SCORES))
    assert found["learning_rate"].tolist() == RATES * 2
    assert found["value"].tolist() == [45, 60, 63, 20, 30, 50, 50, 35]
    assert found.loc[found["chosen"], ["setting", "learning_rate"]].to_numpy().tolist() == [
        ["RL", 0.001],
        ["SFT", 0.0003],
    ]
    assert set(found["runs"]) == {2}


def test_fewer_than_four_rates_are_refused():
    with pytest.raises(ValueError, match="SFT: the rule asks for 4 learning rates on the same bases and seeds"):
        chosen_rates(
            record({key: [*values[:3], None] if key[0] == "SFT" else values for key, values in SCORES.items()})
        )
    never_together = {("RL", "settled-0", 1): [1, 2, None, None], ("RL", "settled-0", 2): [None, None, 1, 2]}
    with pytest.raises(ValueError, match="RL: the rule"):
        chosen_rates(record(never_together))


def test_a_pilot_that_lacks_a_run_decides_nothing(tmp_path):
    assert read_pilot(tmp_path, ROOT) is None
    whole = made_up_study.make(part="pilot", questions=4)
    made_up_study.write(whole, tmp_path / "whole")
    assert len(read_pilot(tmp_path / "whole", ROOT).runs) == len(whole.runs)
    made_up_study.write(replace(whole, runs=whole.runs.iloc[:-1]), tmp_path / "part")
    assert read_pilot(tmp_path / "part", ROOT) is None


@pytest.mark.skipif(PILOT is None, reason="the pilot has not been recorded, or not all of it")
def test_the_protocol_has_the_rates_that_the_rule_chooses_from_the_recorded_pilot():
    study = yaml.safe_load((ROOT / "config" / "study.yaml").read_text())
    found = chosen_rates(PILOT).query("chosen")
    chosen = found.set_index("setting")["learning_rate"].to_dict()
    chosen |= {setting: chosen[other] for setting, other in study["untried"].items()}
    assert chosen == {setting: own["learning_rate"] for setting, own in study["settings"].items()}
