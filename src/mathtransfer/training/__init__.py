"""Post-training on mathematics: the data, the objective L(q, w, beta), recipes at full size.

problems.py   the problems to train on
rejection.py  a teacher's verified responses to them
objective.py  the objective on TRL's trainer, and its settings
recipes.py    training runs at full size
estimates.py  what a recipe will need
"""
