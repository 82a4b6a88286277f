"""Machines that cannot isolate a program are refused, with what is missing; these tests run on any machine."""

import shutil

import pytest

from mathtransfer.benchmarks import sandbox


def test_a_machine_without_bubblewrap_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="install bubblewrap"):
        sandbox.check_sandbox()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo bwrap: No permissions to create new namespace >&2; exit 1", "No permissions"),
        ("exit 0", "cannot isolate"),
    ],
)
def test_a_machine_that_refuses_namespaces_is_refused(monkeypatch, command, words):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "bwrap")
    monkeypatch.setattr(sandbox, "_command", lambda *_: ["sh", "-c", command])
    with pytest.raises(RuntimeError, match=words):
        sandbox.check_sandbox()
