"""Completions of prompts, as token ids."""

from __future__ import annotations

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

DECODINGS = ("sampled", "greedy")


def encode(tokenizer: PreTrainedTokenizerBase, prompts: list[str], chat: bool = False) -> list[list[int]]:
    """Token ids of prompts, each as a user's turn in the model's own chat template if `chat`.

    Raises:
        ValueError: there is no prompt, one is empty, or the tokenizer has no chat template.
    """
    if not prompts:
        raise ValueError("no prompts: give at least one")
    if empty := [number for number, prompt in enumerate(prompts) if not prompt.strip()]:
        raise ValueError(f"prompt {empty[0]} is empty ({len(empty)} of {len(prompts)} are): leave empty prompts out")
    if not chat:
        return [tokenizer(prompt).input_ids for prompt in prompts]
    if not tokenizer.chat_template:
        raise ValueError("the tokenizer has no chat template: set chat to False")
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]


@torch.no_grad()
def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    decoding: str,
    *,
    max_tokens: int,
    seed: int = 0,
    batch_size: int = 64,
) -> list[list[int]]:
    """One completion a prompt, up to and with the end-of-text token.

    Args:
        prompts: token ids.
        decoding: `sampled` from the model's own distribution (temperature 1, nothing cut off), or `greedy`, whatever
            the checkpoint's generation settings say.
        max_tokens: the longest completion, in tokens.
        seed: for the sampled tokens; a batch's depend on the seed, the batch's number and its prompts.

    Raises:
        ValueError: there is no such decoding.
    """
    if decoding not in DECODINGS:
        raise ValueError(f"unknown decoding {decoding!r}: expected {' or '.join(DECODINGS)}")
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    settings = GenerationConfig(
        do_sample=decoding == "sampled",
        max_new_tokens=max_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        **({"temperature": 1.0, "top_k": 0, "top_p": 1.0} if decoding == "sampled" else {}),
    )
    completions = []
    # `generate` takes what its settings leave open, such as a repetition penalty, from the checkpoint's.
    checkpoints, model.generation_config = model.generation_config, settings
    try:
        for start in range(0, len(prompts), batch_size):
            torch.manual_seed(1_000_000 * seed + start)
            batch = tokenizer.pad({"input_ids": prompts[start : start + batch_size]}, padding_side="left")
            inputs = {name: torch.tensor(batch[name], device=model.device) for name in ("input_ids", "attention_mask")}
            made = model.generate(**inputs, generation_config=settings)[:, inputs["input_ids"].shape[1] :]
            completions += [_up_to_end(row, ends) for row in made.tolist()]
    finally:
        model.generation_config = checkpoints
    return completions


def _up_to_end(tokens: list[int], ends: int | list[int]) -> list[int]:
    ends = {ends} if isinstance(ends, int) else set(ends or [])
    last = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: last + 1]
