"""Pages have no button to an address that is not published."""

import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))

import address

OPTIONS = {"launch_buttons": {"colab_url": "x"}, "repository_url": "y", "use_repository_button": True, "other": 1}


@pytest.mark.parametrize("published", [True, False])
def test_buttons_are_there_if_the_address_is(published, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f"[tool.mathtransfer]\npublished = {str(published).lower()}\n")
    config = SimpleNamespace(html_theme_options=dict(OPTIONS))
    address.hide_buttons(SimpleNamespace(srcdir=tmp_path), config)
    assert config.html_theme_options == (OPTIONS if published else {"other": 1})
