"""Load a causal language model and its tokenizer, and refuse early what cannot be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

MINIATURE_BASE = Path(__file__).parent / "miniature" / "base"


def resolve(model: str) -> str:
    """The folder or hub id that a name stands for: `miniature` is the base model that ships with the package."""
    return str(MINIATURE_BASE) if model == "miniature" else model


def check_checkpoint(model: str) -> None:
    """Refuse a folder that is no checkpoint; a name that is no folder is taken for a hub id.

    Raises:
        FileNotFoundError: the folder, its configuration or its safetensors weights are missing.
    """
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith(".") or model.count("/") != 1:
            raise FileNotFoundError(f"no model folder {model!r}: give a checkpoint folder or a hub id (owner/name)")
        return
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{model} is no checkpoint: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"{model} has no weights: expected *.safetensors beside its config.json")


def load_tokenizer(model: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or hub id, padding on the left as generation needs it."""
    check_checkpoint(resolve(model))
    tokenizer = AutoTokenizer.from_pretrained(resolve(model), revision=revision, trust_remote_code=False)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: str, revision: str | None = None, dtype: str = "auto") -> PreTrainedModel:
    """A causal language model in evaluation mode, on the GPU if there is one.

    Args:
        model: a checkpoint folder, a hub id, or `miniature`.
        revision: the hub revision to pin.
        dtype: a torch type by name, or `auto` for the checkpoint's own.

    Raises:
        FileNotFoundError: there is no such checkpoint, or it has no safetensors weights.
    """
    check_checkpoint(resolve(model))
    disable_progress_bar()  # it would end up in the pages of the book
    loaded = AutoModelForCausalLM.from_pretrained(
        resolve(model), revision=revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def check_same_vocabulary(tuned: PreTrainedTokenizerBase, base: PreTrainedTokenizerBase) -> None:
    """Refuse to compare two models token by token whose tokens differ.

    Raises:
        ValueError: the vocabularies are not the same.
    """
    tuned_words, base_words = tuned.get_vocab(), base.get_vocab()
    if tuned_words != base_words:
        different = sum(base_words.get(word) != i for word, i in tuned_words.items())
        raise ValueError(
            f"the model and its base have different vocabularies ({len(tuned_words)} and {len(base_words)} tokens, "
            f"{different} differ): give the base that the model was tuned from"
        )


def fingerprint(model: str, revision: str | None = None) -> str:
    """What identifies a model: a hash of a folder's weights (first 16 hex digits), or hub id and revision."""
    folder = Path(resolve(model))
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    digest = hashlib.sha256()
    for shard in sorted(folder.glob("*.safetensors")):
        digest.update(shard.read_bytes())
    return digest.hexdigest()[:16]
