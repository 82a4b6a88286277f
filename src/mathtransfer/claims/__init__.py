"""From measurements to verdicts: the index, intervals, statistics, criteria, the ledger.

claims.yaml   what counts as reproducing each claim
transfer.py   the Transferability Index
intervals.py  intervals and exact tests
published.py  statistics on the paper's tables
miniature.py  statistics of the controlled study in miniature
full.py       the survey of real models
ledger.py     evidence, criteria, verdicts
"""
