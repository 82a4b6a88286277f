"""From measurements to verdicts: the index, intervals, statistics, criteria, the ledger.

claims.yaml           what counts as reproducing each claim, and what is still needed
changes.yaml          what was changed in the criteria after a result was known
audit.py              P: statistics of the survey of models, and what the paper's tables say
controlled_study.py   S: statistics of RL against SFT, and what the paper's tables say
latent_drift.py       L: the same for hidden states
token_drift.py        T: the same for token distributions
ablation.py           A: the same for the objective's levers
by_base.py            scores of the recorded study base by base, and the parts in which it is judged
drift_by_base.py      drift of the recorded study base by base, and what it says of L and T
forgetting.py         what predicts that a model loses elsewhere
miniature.py          scores of the recorded study, and what they say of S
elicitation.py        what a change of format explains of its gains
policy_or_style.py    the model's own responses or its own style, crossed
fresh.py              fresh runs of the study beside its record
ablation_by_base.py   what each lever of the objective does to its scores
training_logs.py      evidence from the logs of its training runs
released.py           evidence from the authors' generations
full.py               evidence from real models, run again
intervals.py          intervals and exact tests
power.py              how likely the study is to decide, by simulation
price.py              what a gain on mathematics costs elsewhere
calibration.py        whether intervals and verdicts are honest, by simulation
transfer.py           the Transferability Index
recomputed.py         which of the paper's printed numbers follow from which
criteria.py           criteria, and the rule that makes verdicts
ledger.py             evidence, judged, recorded and joined
changes.py            changes of criteria beside the verdicts
"""
