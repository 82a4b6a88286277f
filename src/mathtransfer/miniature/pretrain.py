"""The base model of the miniature study: its architecture and its pre-training."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from mathtransfer.miniature.corpus import documents

_PROMPT_WEIGHT = 0.1  # ours: the base should model questions too, but spend its capacity on responses


_HEAD = 32  # dimensions of an attention head


def _build_model(tokenizer: PreTrainedTokenizerFast, seed: int, hidden_size: int, layers: int) -> Qwen3ForCausalLM:
    """A Qwen3 causal model with random weights."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // _HEAD,
        num_key_value_heads=hidden_size // _HEAD // 2,
        head_dim=_HEAD,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    return Qwen3ForCausalLM(config)


def _batches(tokenizer, kind: str, seed: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of token ids and loss weights, each `(size, time)`; documents of like length go together.

    Weights are scaled so that they add up to 1 over a batch on average, not in every batch: short answers would count
    for more than long ones otherwise.
    """
    stream, rng = documents(kind, seed), random.Random(f"batches|{seed}")
    while True:
        pool = []
        for prompt, response in itertools.islice(stream, size * 16):
            prompt_ids = tokenizer(prompt).input_ids if prompt else []
            ids = [*prompt_ids, *tokenizer(response).input_ids, tokenizer.eos_token_id]
            pool.append((ids, [_PROMPT_WEIGHT] * len(prompt_ids) + [1.0] * (len(ids) - len(prompt_ids))))
        total = sum(sum(weights[1:]) for _, weights in pool) / 16
        pool.sort(key=lambda document: len(document[0]))
        groups = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            yield (
                torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([weights + [0.0] * (width - len(weights)) for _, weights in group]) / total,
            )


def _weighted_loss(model: Qwen3ForCausalLM, ids: Tensor, weights: Tensor) -> Tensor:
    """Next-token cross-entropy in nats, summed with each token's weight. `ids`, `weights`: `(batch, time)`."""
    logits = model(input_ids=ids).logits[:, :-1]  # padding is on the right here, so no mask is needed
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].flatten()).sum()


def _build_optimizers(model: Qwen3ForCausalLM, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=adam_lr, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def _schedule(step: int, total: int, warmup: int = 50) -> float:
    """Learning-rate factor: warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def pretrain(
    tokenizer,
    checkpoint: Path,
    *,
    kind: str,
    seed: int,
    hidden_size: int,
    layers: int,
    steps: int,
    batch_size: int,
    muon_lr: float,
    adam_lr: float,
    save_every: int,
) -> tuple[Qwen3ForCausalLM, pd.DataFrame]:
    """Pre-train a base; goes on from `checkpoint` if that file exists.

    Args:
        kind: of base, a key of `corpus.STYLES`.
        hidden_size: a multiple of 64, for heads have 32 dimensions and two of them share keys and values.

    Returns:
        The model, and a log with one row every 100 steps: `step`, `tokens` (seen so far), `loss` (nats, mean of those
        steps).
    """
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    model = _build_model(tokenizer, seed, hidden_size, layers)
    optimizers = _build_optimizers(model, muon_lr, adam_lr)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    state = {"step": 0, "tokens": 0, "losses": [], "log": []}  # losses since the last row of the log
    if checkpoint.is_file():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, values in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        state = saved["state"]
    for ids, weights in itertools.islice(_batches(tokenizer, kind, seed, batch_size), state["step"], steps):
        loss = _weighted_loss(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * _schedule(state["step"], steps)
            optimizer.step()
            optimizer.zero_grad()
        state["losses"].append(loss.item())
        state["step"] += 1
        state["tokens"] += int((weights > 0).sum())
        if len(losses := state["losses"]) == 100 or state["step"] == steps:
            state["log"].append({"step": state["step"], "tokens": state["tokens"], "loss": sum(losses) / len(losses)})
            state["losses"] = []
            print(
                "step {step}/{total}  {tokens:,} tokens  loss {loss:.3f} nats".format(total=steps, **state["log"][-1]),
                flush=True,
            )
        if state["step"] % save_every == 0:
            saved = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers], "state": state}
            torch.save(saved, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    checkpoint.unlink(missing_ok=True)
    return model.eval(), pd.DataFrame(state["log"])


def ship(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Write a model with weights of half precision, half as large, that its configuration asks to load as float32.

    The rounded weights are the base: post-training starts from them.
    """
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
