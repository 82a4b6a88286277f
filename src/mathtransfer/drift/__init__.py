"""What moved: weights, hidden states and next-token distributions of a model against its base.

hidden_states.py  states of all layers, pooled in the forward pass
latent.py         measures on them
divergence.py     exact divergences of next-token distributions
completions.py    two models on the same completions, token by token
tokens.py         what kind of token it is
weights.py        two checkpoints' tensors
summaries.py      means over tokens and tensors, with intervals
comparison.py     all of it for two checkpoints
"""
