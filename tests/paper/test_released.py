"""Where the released files come from, and how a wrong one is refused. No network: a folder stands in for it."""

import hashlib
import json
from pathlib import Path

import pytest

from mathtransfer.paper import released


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A stand-in for the authors' repository, with made-up files and their hashes."""
    source = tmp_path / "repository"
    problem = {"problem": "What is 3 + 4?", "answer": "7"}
    asked = {"key": 1, "prompt": "Write no comma.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    changed = {
        "key": released._CHANGED_KEY,
        "prompt": "Write with at least 3 placeholders.",
        "instruction_id_list": ["detectable_content:number_placeholders"],
        "kwargs": [{"num_placeholders": 3}],
    }
    math = [{"input": "Problem: What is 3 + 4?\nAnswer:", "output": "\\boxed{7}"}]
    instructions = [
        {"input": "user: Write no comma.", "output": "No."},
        {"input": "user: Write with at least one placeholder.", "output": "[name]"},
    ]
    kl = [{"task": "ifeval", "kl_divergence": 0.25, "num_data_points": 2, "total_tokens": 10}]
    contents = {
        "math500.jsonl": [problem],
        "input_data.jsonl": [asked, changed],
        "UniReason-RL_hendrycks_math_500.jsonl": math,
        "UniReason-SFT_hendrycks_math_500.jsonl": math,
        "UniReason-RL_ifeval.jsonl": instructions,
        "kl_divergence_results.json": None,
    }
    files = {}
    for name, (path, _) in released._FILES.items():
        rows = contents[Path(path).name]
        text = json.dumps(kl) if rows is None else "".join(json.dumps(row) + "\n" for row in rows)
        place = source / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        files[name] = (path, hashlib.sha256(text.encode()).hexdigest())
    monkeypatch.setattr(released, "_FILES", files)
    return source


@pytest.fixture
def server(repository, monkeypatch):
    """The stand-in behind a real HTTP server on this machine."""
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(repository))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setattr(released, "_ADDRESS", f"http://127.0.0.1:{http.server_port}")
        yield repository
        http.shutdown()


def test_files_are_fetched_checked_and_joined(server, tmp_path):
    released.fetch(tmp_path / "data")
    table = released.responses(tmp_path / "data")
    assert list(table.columns) == ["model", "benchmark", "question", "response", "gold"]
    assert list(table["benchmark"]) == ["math500", "math500", "ifeval", "ifeval"]
    assert table["gold"][0] == "7"
    assert table["gold"][3]["kwargs"] == [{"num_placeholders": 1}]  # as the prompt was sent
    assert released.kl(tmp_path / "data")["kl"].tolist() == [0.25, 0.25]


def test_a_corrupted_download_is_refused_and_not_kept(server, tmp_path):
    (server / released._FILES["benchmarks/math500.jsonl"][0]).write_text("something else\n")
    with pytest.raises(ValueError, match="hash"):
        released.fetch(tmp_path / "data")
    assert not (tmp_path / "data" / "benchmarks" / "math500.jsonl").exists()


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    missing = server / released._FILES["benchmarks/ifeval.jsonl"][0]
    text = missing.read_text()
    missing.unlink()
    with pytest.raises(Exception, match="404"):
        released.fetch(tmp_path / "data")
    kept = tmp_path / "data" / "benchmarks" / "math500.jsonl"
    before = kept.stat().st_mtime_ns
    missing.write_text(text)
    released.fetch(tmp_path / "data")
    assert kept.stat().st_mtime_ns == before
    released._check(tmp_path / "data")


def test_missing_files_say_where_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=released._REPOSITORY) as refused:
        released._check(tmp_path)
    assert released._COMMIT[:12] in str(refused.value) and "download" in str(refused.value)


def test_a_changed_file_is_refused(server, tmp_path):
    released.fetch(tmp_path / "data")
    path = tmp_path / "data" / "released_generations" / "UniReason-RL_ifeval.jsonl"
    path.write_text(path.read_text().replace("No.", "Yes."))
    with pytest.raises(ValueError, match="is not the released file"):
        released._check(tmp_path / "data")


def test_a_benchmark_in_another_order_is_refused(server, tmp_path):
    released.fetch(tmp_path / "data")
    path = tmp_path / "data" / "benchmarks" / "ifeval.jsonl"  # its own serialisation may differ, so no hash
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    with pytest.raises(ValueError, match="row 0 of ifeval"):
        released.responses(tmp_path / "data")
