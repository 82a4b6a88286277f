"""Models of random weights, smaller than the miniature, and what a checkpoint may bring along."""

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

# Generation settings of a checkpoint, all of which would change its distribution.
OWN_SETTINGS = {"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.5, "repetition_penalty": 3.0}


def qwen3(vocabulary: int, **changes) -> Qwen3ForCausalLM:
    """One layer, two heads, 16 dimensions; the same weights every time."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3ForCausalLM(Qwen3Config(**{"vocab_size": vocabulary, **sizes, **heads, **changes})).eval()
