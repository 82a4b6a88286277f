"""A model that answers: from the hub or a folder to completions and final hidden states.

hub.py          the commit behind a revision
files.py        which files of a checkpoint are its weights
checkpoints.py  loading, and refusing early what cannot be loaded or compared
prompting.py    prompts as token ids, chat templates
thinking.py     where thinking ends and the answer begins
sampling.py     tokens drawn from a transformers model, one after the other
engines.py      completions and log-likelihoods from transformers or vLLM
readout.py      final hidden states and output projections
"""
