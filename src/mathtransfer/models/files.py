"""The files of a checkpoint folder."""

from __future__ import annotations

from pathlib import Path

_NOT_THE_MODEL = ("adapter_", "consolidated")  # an adapter, and Mistral's second copy under names of its own


def weight_files(folder: Path) -> list[Path]:
    """Those that hold the model's weights, sorted by name."""
    return [path for path in sorted(folder.glob("*.safetensors")) if not path.name.startswith(_NOT_THE_MODEL)]
