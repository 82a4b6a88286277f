"""What a fine-tuning changed: the weights of two checkpoints compared from their files, without loading a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING

import pandas as pd
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from mathtransfer.drift.summaries import SUMS
from mathtransfer.models.files import weight_files

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK_ENTRIES = 2**18  # entries of either checkpoint worked on at a time: 2 MB in float64, which stays in a cache
_HEAD = "lm_head.weight"
_KINDS = {
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
_FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class _Stored:
    """Where a tensor is stored: its file, its name there, and its shape."""

    file: Path
    name: str
    shape: tuple[int, ...]


def weight_changes(base: str, tuned: str) -> pd.DataFrame:
    """How many entries of each tensor a fine-tuning changed, and by how much.

    An entry has changed if its two numbers differ in float32, which holds float16 and bfloat16 exactly. Two NaNs count
    as the same number, but they and infinite entries stay visible: the tensor's sums of squares are then not finite. In
    bfloat16 (eight significant bits) small updates vanish: a model trained in float32 and compared in bfloat16 hides
    them (arXiv 2511.08567), and one that is stored in bfloat16 while it trains cannot hold them.

    A checkpoint that ties its output projection to its embedding has no `lm_head.weight` of its own. Its embedding is
    compared with the other's `lm_head.weight`; if both tie there is no such row.

    Args:
        base, tuned: checkpoint folders (one file or shards), hub ids, or `miniature`.

    Returns:
        One row a tensor, sorted by layer and name: `tensor`, `layer` (-1 outside the decoder layers), `kind` (such as
        `MLP up`, norm or other), the counts `entries`, `changed` and `changed_bfloat16` (those that still differ when
        both numbers are rounded to bfloat16), and in float64 the sums of squares `base_square` (of the base) and
        `update_square` (of tuned less base).

    Raises:
        FileNotFoundError: there is no such checkpoint, or a shard of it is missing.
        ValueError: a checkpoint is an adapter, damaged, or stored in other numbers than float32, float16 and bfloat16;
            or the two do not have the same tensors.
    """
    folders = _folder(base), _folder(tuned)
    before, after = (_stored_tensors(folder) for folder in folders)
    _align_output_projections(folders, (before, after))
    _check_same_tensors(before, after)
    rows = []
    for name in before:
        changes = _compare(before[name], after[name])
        rows.append({"tensor": name, "layer": _layer(name), "kind": _kind(name)} | changes)
    return pd.DataFrame(rows).sort_values(["layer", "tensor"], ignore_index=True)


def _folder(model: str) -> Path:
    """The folder of a whole checkpoint, downloaded if it is a hub id."""
    from mathtransfer.models import checkpoints  # here, so that a chapter that reads tables starts without transformers

    name = checkpoints.resolve(model)
    if not Path(name).is_dir():
        name = snapshot_download(name, allow_patterns=["*.safetensors", "*.json"])
    folder = Path(name)
    index = folder / "model.safetensors.index.json"
    shards = set(json.loads(index.read_text()).get("weight_map", {}).values()) if index.is_file() else set()
    if missing := sorted(shard for shard in shards if not (folder / shard).is_file()):
        raise FileNotFoundError(f"{model} lacks {_few(missing)}, which its {index.name} names: copy all of its shards")
    checkpoints.resolve(name)  # what came from the hub is whole too
    return folder


def _stored_tensors(folder: Path) -> dict[str, _Stored]:
    """Every weight that a checkpoint stores, by name; only the files' headers are read."""
    tensors: dict[str, _Stored] = {}
    others = []
    for file in weight_files(folder):
        try:
            with safe_open(file, "pt") as weights:
                found = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
                shapes = {name: tuple(part.get_shape()) for name, part in found.items()}
                types = {name: part.get_dtype() for name, part in found.items()}
        except SafetensorError as error:
            raise ValueError(f"{file} is no whole safetensors file ({error}): copy or download it again") from error
        if twice := tensors.keys() & shapes.keys():
            raise ValueError(f"{folder} stores {_few(sorted(twice))} in {file.name} and again: remove the stale file")
        tensors |= {name: _Stored(file, name, shape) for name, shape in shapes.items()}
        others += [f"{name} in {dtype}" for name, dtype in types.items() if dtype not in _FLOATS]
    if others:
        raise ValueError(f"{folder} stores {_few(others)}: give a checkpoint in float32, float16 or bfloat16")
    if not tensors:
        raise ValueError(f"{folder} stores no tensors: expected a model's weights in *.safetensors")
    # Computed constants that old checkpoints store and newer ones leave out.
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}


def _align_output_projections(folders: tuple[Path, Path], both: tuple[dict[str, _Stored], dict[str, _Stored]]) -> None:
    """Give both checkpoints an output projection or, if each is tied to its embedding, neither."""
    settings = [_tie_setting(folder) for folder in folders]
    if all(_is_tied(tensors, setting) for tensors, setting in zip(both, settings, strict=True)):
        for tensors in both:
            tensors.pop(_HEAD, None)
        return
    for folder, tensors, setting in zip(folders, both, settings, strict=True):
        if _HEAD not in tensors and setting is False:
            raise ValueError(f"{folder} has no {_HEAD} and its config.json does not tie one: save the whole model")
        if _HEAD not in tensors and (embedding := _embedding(tensors)):
            tensors[_HEAD] = embedding


def _tie_setting(folder: Path) -> bool | None:
    config = json.loads((folder / "config.json").read_text())
    return config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings"))


def _is_tied(tensors: dict[str, _Stored], setting: bool | None) -> bool:
    """As transformers has it: a stored copy is tied if the configuration says so and the two are equal."""
    if _HEAD not in tensors:
        return True
    embedding = _embedding(tensors)
    if not setting or embedding is None or embedding.shape != tensors[_HEAD].shape:
        return False
    return _compare(embedding, tensors[_HEAD])["changed"] == 0


def _embedding(tensors: dict[str, _Stored]) -> _Stored | None:
    return next((tensor for name, tensor in tensors.items() if name.endswith("embed_tokens.weight")), None)


def _check_same_tensors(before: dict[str, _Stored], after: dict[str, _Stored]) -> None:
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
    if known := [_KINDS[part] for part in parts if part in _KINDS]:
        return known[0]
    return "norm" if any("norm" in part for part in parts) else "other"


def _compare(base: _Stored, tuned: _Stored) -> dict[str, float]:
    """The counts and sums of two tensors of one shape, read a few rows at a time."""
    total = dict.fromkeys(SUMS, 0) | {"base_square": 0.0, "update_square": 0.0}
    with safe_open(base.file, "pt") as one, safe_open(tuned.file, "pt") as other:
        before, after = one.get_slice(base.name), other.get_slice(tuned.name)
        for rows in _row_blocks(base.shape):
            block = _compare_block(before[rows], after[rows])
            total = {key: total[key] + block[key] for key in SUMS}
    return total


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice | EllipsisType]:
    if not shape:  # one number has no rows
        yield ...
        return
    rows = max(1, _BLOCK_ENTRIES // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def _compare_block(base: Tensor, tuned: Tensor) -> dict[str, float]:
    before = base.double()
    return {
        "entries": base.numel(),
        "changed": _different(base.float(), tuned.float()),
        "changed_bfloat16": _different(base.bfloat16(), tuned.bfloat16()),
        "base_square": before.square().sum().item(),
        "update_square": (tuned.double() - before).square().sum().item(),
    }


def _different(a: Tensor, b: Tensor) -> int:
    return int(((a != b) & ~(a.isnan() & b.isnan())).sum())
