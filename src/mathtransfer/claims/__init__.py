"""From measurements to verdicts: the index, intervals, statistics, criteria, the ledger.

claims.yaml    what counts as reproducing each claim
statistics.py  every statistic, once, under its literal name
intervals.py   intervals and exact tests
transfer.py    the Transferability Index
recomputed.py  which of the paper's printed numbers follow from which
published.py   evidence from the paper's tables
released.py    evidence from the authors' generations
miniature.py   evidence from the controlled study in miniature
elicitation.py what a change of format explains of its gains
full.py        evidence from real models, run again
ledger.py      evidence, criteria, verdicts
"""
