"""Post-training on mathematics: the data, the objective L(q, w, beta), recipes at full size.

settings.py       the rows of the ablation: q, w and beta
problems.py       the problems that RL, SFT and rejection sampling read, and the prompts they become
reward.py         whether a response is right
rejection.py      a teacher's verified responses, to fine-tune on
packing.py        prompts and responses in rows without padding
objective.py      the objective on TRL's trainer
post_training.py  a run, step by step: load, build the trainer, train, keep
recipes.py        runs at full size, beside the paper's and its authors'
estimates.py      what a recipe will need
"""
