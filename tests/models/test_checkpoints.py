"""Model folders: what is missing is said, and a fingerprint is of the weights."""

import shutil

import pytest

from mathtransfer.models import checkpoints


@pytest.fixture
def copied_base(tmp_path):
    return shutil.copytree(checkpoints.resolve("miniature"), tmp_path / "model")


def test_model_folders_are_checked(copied_base):
    checkpoints.load_model(str(copied_base))
    (copied_base / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no weights"):
        checkpoints.load_model(str(copied_base))
    (copied_base / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpoints.load_model(str(copied_base))
    with pytest.raises(FileNotFoundError, match="no model folder"):
        checkpoints.load_model(str(copied_base / "elsewhere"))


def test_fingerprint_is_of_the_weights(copied_base, monkeypatch):
    assert checkpoints.fingerprint(str(copied_base)) == checkpoints.fingerprint("miniature")
    weights = copied_base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert checkpoints.fingerprint(str(copied_base)) != checkpoints.fingerprint("miniature")
    monkeypatch.setattr(checkpoints.hub, "resolve_commit", lambda repo, revision: f"commit of {revision}")
    assert checkpoints.fingerprint("owner/name", "abc") == "owner/name@commit of abc"
