"""Sphinx extension: no button leads to the repository, or to Colab through it, until the repository is published."""

from __future__ import annotations

import tomllib
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config


def hide_buttons(app: Sphinx, config: Config) -> None:
    """Take whatever leads to the address in pyproject.toml out of the theme's options, unless it is published."""
    if tomllib.loads(Path(app.srcdir, "pyproject.toml").read_text())["tool"]["mathtransfer"]["published"]:
        return
    for option in ("launch_buttons", "repository_url", "use_repository_button"):
        config.html_theme_options.pop(option, None)


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", hide_buttons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
