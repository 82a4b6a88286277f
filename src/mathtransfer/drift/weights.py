"""What a fine-tuning changed: the weights of two checkpoints compared from their files, without loading a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType

import pandas as pd
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mathtransfer.drift.summaries import SUMS
from mathtransfer.models import checkpoints

BLOCK_ENTRIES = 2**18  # entries of either checkpoint worked on at a time: 2 MB in float64, which stays in a cache

HEAD = "lm_head.weight"
KINDS = {
    "embed_tokens": "embedding",
    "q_proj": "attention query",
    "k_proj": "attention key",
    "v_proj": "attention value",
    "o_proj": "attention output",
    "gate_proj": "MLP gate",
    "up_proj": "MLP up",
    "down_proj": "MLP down",
    "lm_head": "output projection",
}

_DECODER_LAYER = re.compile(r"(?:(?:model|language_model)\.)*layers\.(\d+)\.")
_FLOATS = ("F64", "F32", "F16", "BF16")
_SCALE = re.compile(r"(weight|input|output|[qkv])_scale(_inv|_2)?$")
_NOT_THE_MODEL = ("adapter_model", "consolidated")  # an adapter, and Mistral's second copy under names of its own


@dataclass(frozen=True)
class Stored:
    """Where a tensor is stored: its file, its name there, and its shape."""

    file: Path
    name: str
    shape: tuple[int, ...]


def weight_changes(
    base: str, tuned: str, *, base_revision: str | None = None, tuned_revision: str | None = None
) -> pd.DataFrame:
    """How many entries of each tensor a fine-tuning changed, and by how much.

    An entry has changed if its two numbers differ after both are widened to the wider of their types. Two NaNs count as
    the same number, but they and infinite entries stay visible: the tensor's sums of squares are then not finite. In
    bfloat16 (eight bits of precision) small updates vanish: a model trained in float32 and compared in bfloat16 hides
    them (arXiv 2511.08567), and one that is stored in bfloat16 while it trains cannot hold them.

    A checkpoint that ties its output projection to its embedding has no `lm_head.weight` of its own. Its embedding is
    compared with the other's `lm_head.weight`; where both tie there is no such row.

    Args:
        base, tuned: checkpoint folders (one file or shards), hub ids, or `miniature`.
        base_revision, tuned_revision: the hub revisions to pin.

    Returns:
        One row a tensor, sorted by layer and name: `tensor`, `layer` (-1 outside the decoder layers), `kind` (a value
        of `KINDS`, norm or other), the counts `entries`, `changed` and `changed_bfloat16` (those that still differ when
        both numbers are rounded to bfloat16), and in float64 the sums of squares `base_square` (of the base) and
        `update_square` (of tuned less base).

    Raises:
        FileNotFoundError: there is no such checkpoint, or a shard of it is missing.
        ValueError: a checkpoint is an adapter, quantised or damaged, or the two do not have the same tensors.
    """
    folders = _folder(base, base_revision), _folder(tuned, tuned_revision)
    before, after = (_stored_tensors(folder) for folder in folders)
    _align_output_projections(folders, (before, after))
    _check_same_tensors(before, after)
    rows = []
    for name in before:
        changes = _compare(before[name], after[name])
        rows.append({"tensor": name, "layer": _layer(name), "kind": _kind(name)} | changes)
    return pd.DataFrame(rows).sort_values(["layer", "tensor"], ignore_index=True)


def _folder(model: str, revision: str | None) -> Path:
    """The folder of a whole checkpoint, downloaded if it is a hub id."""
    name = checkpoints.resolve(model, revision)
    if not Path(name).is_dir():
        name = snapshot_download(name, revision=revision, allow_patterns=["*.safetensors", "*.json"])
    folder = Path(name)
    index = folder / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text()).get("weight_map", {}).values()) if index.is_file() else set()
    if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
        raise FileNotFoundError(f"{model} lacks {_few(missing)}, which its {index.name} names: copy all of its shards")
    checkpoints.resolve(name)  # what came from the hub is whole too
    return folder


def _weight_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith(_NOT_THE_MODEL)]


def _stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every weight that a checkpoint stores, by name; only the files' headers are read."""
    tensors: dict[str, Stored] = {}
    quantised = []
    for file in _weight_files(folder):
        try:
            with safe_open(file, "pt") as weights:
                found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
                shapes = {name: tuple(part.get_shape()) for name, part in found.items()}
                types = {name: part.get_dtype() for name, part in found.items()}
        except SafetensorError as error:
            raise ValueError(f"{file} is no whole safetensors file ({error}): copy or download it again") from error
        if twice := tensors.keys() & shapes.keys():
            raise ValueError(f"{folder} stores {_few(sorted(twice))} in {file.name} and again: remove the stale file")
        tensors |= {name: Stored(file, name, shape) for name, shape in shapes.items()}
        quantised += [name for name, dtype in types.items() if dtype not in _FLOATS or _SCALE.search(name)]
    if quantised:
        raise ValueError(f"{folder} is quantised ({_few(quantised)}): give a checkpoint in 16 bits or more a weight")
    if not tensors:
        raise ValueError(f"{folder} stores no tensors: expected a model's weights in *.safetensors")
    # Computed constants that old checkpoints store and newer ones leave out.
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}


def _align_output_projections(folders: tuple[Path, Path], both: tuple[dict[str, Stored], dict[str, Stored]]) -> None:
    """Give both checkpoints an output projection or, where each is tied to its embedding, neither."""
    settings = [_tie_setting(folder) for folder in folders]
    if all(_is_tied(tensors, setting) for tensors, setting in zip(both, settings, strict=True)):
        for tensors in both:
            tensors.pop(HEAD, None)
        return
    for folder, tensors, setting in zip(folders, both, settings, strict=True):
        if HEAD not in tensors and setting is False:
            raise ValueError(f"{folder} has no {HEAD} and its config.json does not tie one: save the whole model")
        if HEAD not in tensors and (embedding := _embedding(tensors)):
            tensors[HEAD] = embedding


def _tie_setting(folder: Path) -> bool | None:
    config = json.loads((folder / "config.json").read_text())
    return config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings"))


def _is_tied(tensors: dict[str, Stored], setting: bool | None) -> bool:
    """As transformers has it: a stored copy is tied if the configuration says so and the two are equal."""
    if HEAD not in tensors:
        return True
    embedding = _embedding(tensors)
    if not setting or embedding is None or embedding.shape != tensors[HEAD].shape:
        return False
    return _compare(embedding, tensors[HEAD])["changed"] == 0


def _embedding(tensors: dict[str, Stored]) -> Stored | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith("embed_tokens.weight")), None)


def _check_same_tensors(before: dict[str, Stored], after: dict[str, Stored]) -> None:
    only = {"base": before.keys() - after.keys(), "tuned model": after.keys() - before.keys()}
    if found := " and ".join(f"only the {side} has {_few(sorted(names))}" for side, names in only.items() if names):
        raise ValueError(f"{found}: give the base that the model was tuned from, and merge an adapter before comparing")
    if unlike := sorted(name for name in before if before[name].shape != after[name].shape):
        shapes = [f"{name} {before[name].shape} and {after[name].shape}" for name in unlike]
        raise ValueError(
            f"base and tuned model differ in shape ({_few(shapes)}): give the base that the model was tuned from, and "
            "undo a change of its vocabulary size"
        )


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _layer(name: str) -> int:
    match = _DECODER_LAYER.match(name)
    return int(match[1]) if match else -1


def _kind(name: str) -> str:
    parts = name.split(".")
    if known := [KINDS[part] for part in parts if part in KINDS]:
        return known[0]
    return "norm" if any("norm" in part for part in parts) else "other"


def _compare(base: Stored, tuned: Stored) -> dict[str, float]:
    """The counts and sums of two tensors of one shape, read a few rows at a time."""
    total = dict.fromkeys(SUMS, 0) | {"base_square": 0.0, "update_square": 0.0}
    with safe_open(base.file, "pt") as one, safe_open(tuned.file, "pt") as other:
        before, after = one.get_slice(base.name), other.get_slice(tuned.name)
        for rows in _row_blocks(base.shape):
            block = _compare_block(before[rows], after[rows])
            total = {key: total[key] + block[key] for key in SUMS}
    return total


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice | EllipsisType]:
    if not shape:
        yield ...
        return
    rows = max(1, BLOCK_ENTRIES // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def _compare_block(base: Tensor, tuned: Tensor) -> dict[str, float]:
    wide = torch.promote_types(base.dtype, tuned.dtype)  # float32 for bfloat16 with float16: neither holds the other
    before = base.double()
    return {
        "entries": base.numel(),
        "changed": _different(base.to(wide), tuned.to(wide)),
        "changed_bfloat16": _different(base.bfloat16(), tuned.bfloat16()),
        "base_square": before.square().sum().item(),
        "update_square": (tuned.double() - before).square().sum().item(),
    }


def _different(a: Tensor, b: Tensor) -> int:
    return int(((a != b) & ~(a.isnan() & b.isnan())).sum())
