"""Files of the repository that ship with the package: the configuration, recorded results, the tables of a small study.

In a checkout `checkout/` links to them, so that what one edits there is what ships; a wheel has copies.
"""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).parent / "checkout"


def find(path: str | Path) -> Path:
    """Where a file or folder of the repository is, such as `config/study.yaml`.

    Returns:
        The path itself if it is there, as it is in a checkout; or else the copy that ships, if there is one.
    """
    shipped = _CHECKOUT / path
    return shipped if shipped.exists() and not Path(path).exists() else Path(path)


def find_all(folder: str | Path, pattern: str) -> list[Path]:
    """The files of a folder that match a pattern, by name: those that are there, and those that ship."""
    found = {path.name: path for place in (_CHECKOUT / folder, Path(folder)) for path in place.glob(pattern)}
    return [found[name] for name in sorted(found)]
