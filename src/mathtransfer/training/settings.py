"""The settings of the paper's unified objective L(q, w, beta): its ablation, row by row (Section 5.1, Table 4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """One row: who writes the responses (q), how much each one counts (w), how strongly the base holds (beta)."""

    sampling: str  # "teacher" or "policy"
    # "one", "rejection" (only correct responses count), "advantage" (within the group) or "positive advantage" (no
    # response counts against the policy)
    weight: str
    kl: float


SETTINGS = {
    "off-policy SFT": Setting("teacher", "one", 0.0),
    "off-policy SFT, rejection": Setting("teacher", "rejection", 0.0),
    "on-policy SFT": Setting("policy", "rejection", 0.0),
    "off-policy RL": Setting("teacher", "advantage", 0.0),
    "on-policy RL": Setting("policy", "advantage", 0.0),  # the paper: "On-policy RL (no KL)"
    "on-policy RL without negatives": Setting("policy", "positive advantage", 0.0),  # ours: A7 and A8 apart
    "on-policy RL with KL": Setting("policy", "advantage", 0.02),  # the paper: "On-policy RL"
}


def setting_named(setting: str) -> Setting:
    """The row of a setting.

    Raises:
        ValueError: there is no such setting.
    """
    if setting not in SETTINGS:
        raise ValueError(f"unknown setting {setting!r}: expected one of {', '.join(SETTINGS)}")
    return SETTINGS[setting]
