"""Load a causal language model and its tokenizer, and refuse early what cannot be compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from mathtransfer import runs
from mathtransfer.models import hub
from mathtransfer.models.files import weight_files

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_ATTENTION = "sdpa"  # PyTorch's own, which takes the fastest kernel that the device has
_MINIATURE = runs.PACKAGE / "miniature" / "bases"
_MINIATURE_DEFAULT = "settled-0"


def resolve(model: str, revision: str | None = None) -> str:
    """The folder or hub id that a name stands for, if there is a checkpoint.

    Args:
        model: a checkpoint folder, a hub id, or a base that ships with the package: `miniature/` and the name of its
            folder in miniature/bases, or `miniature` for the first settled one.
        revision: the hub revision to pin.

    Raises:
        FileNotFoundError: the folder, its configuration or its safetensors weights are missing, or the hub has no such
            model or revision.
        ValueError: it is an adapter without the model's weights.
        PermissionError, ConnectionError: the model is gated, or the hub cannot be reached.
    """
    if model == "miniature" or model.startswith("miniature/"):
        base = _MINIATURE / (model.partition("/")[2] or _MINIATURE_DEFAULT)
        if not base.is_dir():
            names = ", ".join(f"miniature/{path.name}" for path in sorted(_MINIATURE.iterdir()))
            raise FileNotFoundError(f"no miniature base {model!r}: expected one of {names}")
        return str(base)
    folder = Path(model)
    if not folder.is_dir():
        if folder.is_absolute() or model.startswith(".") or model.count("/") != 1:
            raise FileNotFoundError(f"no model folder {model!r}: give a checkpoint folder or a hub id (owner/name)")
        hub.resolve_commit(model, revision)
        return model
    weights = weight_files(folder)
    if any(folder.glob("adapter_*")) and not weights:
        raise ValueError(f"{model} is an adapter without the model's weights: merge it into its base and save that")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{model} is no checkpoint: it has no config.json")
    if not weights:
        raise FileNotFoundError(f"{model} has no weights: expected *.safetensors beside its config.json")
    return model


def load_tokenizer(model: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder or hub id, padding on the left as generation needs it.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `resolve`.
        ValueError: a folder has no tokenizer; transformers makes one up that knows its special tokens only.
    """
    tokenizer = AutoTokenizer.from_pretrained(resolve(model, revision), revision=revision, trust_remote_code=False)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise ValueError(f"{model} has no tokenizer: copy its base's tokenizer files into its folder")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(model: str, revision: str | None = None) -> PreTrainedConfig:
    """A checkpoint's configuration; of a model that reads more than text, the part for text."""
    config = AutoConfig.from_pretrained(resolve(model, revision), revision=revision, trust_remote_code=False)
    return config.get_text_config()


def token_budget(model: str, budget: int | None, revision: str | None = None) -> int:
    """Tokens that a prompt and its completion may have together: the model's context if none are asked for.

    Raises:
        ValueError: the budget is larger than the context.
    """
    context = load_config(model, revision).max_position_embeddings
    if budget is not None and budget > context:
        raise ValueError(f"a budget of {budget} tokens is larger than the {context} that {model} can read: give fewer")
    return budget or context


def check_memory(model: str, dtype: torch.dtype, budget: int, free: int, revision: str | None = None) -> None:
    """Refuse to load a model whose weights and one completion's keys and values are more than a GPU has free.

    Args:
        budget: tokens of a prompt and its completion.
        free: bytes, on the GPUs that share the model.

    Raises:
        MemoryError: with the estimate.
    """
    config = load_config(model, revision)
    with torch.device("meta"):
        parameters = AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * width * budget
    exact = 4 * config.vocab_size * config.hidden_size if budget and dtype.itemsize < 4 else 0  # engines._FloatHead
    if (needed := (parameters + cached) * dtype.itemsize + exact) > free:
        raise MemoryError(
            f"{model} needs about {needed / 2**30:.1f} GiB ({parameters / 1e9:.2f} billion parameters in {dtype} and "
            f"{budget} tokens of keys and values) and there are {free / 2**30:.1f} GiB free on the GPU: take a smaller "
            "model, a smaller budget, or vLLM with a larger tensor_parallel_size"
        )


def chosen_dtype(config: PreTrainedConfig, dtype: str = "auto") -> torch.dtype:
    """The type a model is loaded in: the one that is named or the checkpoint's own.

    With `auto`, bfloat16 becomes float16 on a GPU that cannot compute with it (before NVIDIA's Ampere, as Colab's T4).

    Raises:
        ValueError: torch has no such type.
    """
    if dtype != "auto":
        found = getattr(torch, dtype, None)
        if not isinstance(found, torch.dtype) or not found.is_floating_point:
            raise ValueError(f"unknown dtype {dtype!r}: expected auto, float32, bfloat16 or float16")
        return found
    own = config.dtype or torch.float32
    too_old = torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)
    return torch.float16 if own == torch.bfloat16 and too_old else own


def placement(model: str, revision: str | None = None, dtype: str = "auto") -> dict[str, str]:
    """Where and how a model will run here: `device`, `dtype`, `attention`; for a run's manifest.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `resolve` and `chosen_dtype`.
    """
    chosen = chosen_dtype(load_config(model, revision), dtype)
    return {"device": DEVICE, "dtype": str(chosen).removeprefix("torch."), "attention": _ATTENTION}


def load_model(model: str, revision: str | None = None, dtype: str = "auto", budget: int = 0) -> PreTrainedModel:
    """A causal language model in evaluation mode, on the GPU if there is one.

    Args:
        model, revision: see `resolve`.
        dtype: a torch type by name, or `auto`: see `chosen_dtype`.
        budget: tokens of a prompt and its completion, to make sure before loading that they fit on the GPU.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `resolve`.
        MemoryError: the GPU has too little free memory.
    """
    chosen = chosen_dtype(load_config(model, revision), dtype)
    if torch.cuda.is_available():
        check_memory(model, chosen, budget, torch.cuda.mem_get_info()[0], revision)
    disable_progress_bar()  # it would end up in the pages of the book
    loaded = AutoModelForCausalLM.from_pretrained(
        resolve(model, revision),
        revision=revision,
        dtype=chosen,
        use_safetensors=True,
        trust_remote_code=False,
        attn_implementation=_ATTENTION,
    )
    return loaded.to(DEVICE).eval()


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
    """What identifies a model: a hash of a folder's weights (first 16 hex digits), or hub id and commit.

    Raises:
        FileNotFoundError, ValueError, PermissionError, ConnectionError: see `resolve`.
    """
    folder = Path(resolve(model, revision))
    if not folder.is_dir():
        return f"{model}@{hub.resolve_commit(model, revision)}"
    digest = hashlib.sha256()
    for shard in weight_files(folder):
        with shard.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)  # one hash of all shards, a piece at a time
    return digest.hexdigest()[:16]
