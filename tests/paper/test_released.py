"""Where the released files come from, and how a wrong one is refused. No network: a folder stands in for it."""

import hashlib
import json
from pathlib import Path

import pytest

from mathtransfer.paper import released

# Questions of our own. The harness drops what stands in brackets, so that no letter is right for the last one.
GPQA = [("What is 2 + 2?", "4"), ("Which is an alkane?", "[1]ethane"), ("Which [n]?", "[1]")]
GPQA_PROMPTS = [
    "user: What is 2 + 2?\nChoices:\nA. 3\nB. 5\nC. 4\nD. 6\nFinish your answer so: \\boxed{X}",
    "user: Which is an alkane?\nChoices:\nA. ethane\nB. one\nof these\nC. ethene\nD. ethyne\nFinish your answer so.",
    "user: Which [n]?\nChoices:\nA. \nB. \nC. \nD. \nFinish your answer so.",
]


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
    story, turns = "A boat was red.", [("What was red?", "a boat", "The boat"), ("Was it blue?", "no", "No")]
    conversation = {
        "story": story,
        "questions": [{"input_text": question} for question, *_ in turns],
        "answers": [{"input_text": answer} for _, answer, _ in turns],
        "additional_answers": {"0": [{"input_text": other} for *_, other in turns]},
    }
    talk = f"<|im_start|>user\n{story}\n\nQ: What was red?\n\nA:"
    coqa = [
        {"input": f"{talk}<|im_end|>\n", "output": "A boat."},
        {"input": f"{talk} a boat\n\nQ: Was it blue?\n\nA:<|im_end|>\n", "output": "No, red."},
        {"input": "<|im_start|>user\nAnother story.\n\nQ: Why?\n\nA:<|im_end|>\n", "output": "It rained."},
    ]
    gpqa = "".join(f'"{question}",{right}\n' for question, right in GPQA)
    asked_gpqa = [{"input": sent, "output": "\\boxed{B}"} for sent in GPQA_PROMPTS]
    kl = [{"task": "ifeval", "kl_divergence": 0.25, "num_data_points": 2, "total_tokens": 10}]
    contents = {
        "math500.jsonl": [problem],
        "input_data.jsonl": [asked, changed],
        "UniReason-RL_hendrycks_math_500.jsonl": math,
        "UniReason-SFT_hendrycks_math_500.jsonl": math,
        "UniReason-RL_ifeval.jsonl": instructions,
        "UniReason-RL_coqa.jsonl": coqa,
        "UniReason-SFT_coqa.jsonl": coqa,
        "UniReason-RL_gpqa_diamond_cot_zeroshot.jsonl": asked_gpqa,
        "UniReason-SFT_gpqa_diamond_cot_zeroshot.jsonl": asked_gpqa,
        "gpqa_diamond.csv": "Question,Correct Answer\n" + gpqa,
        "coqa-dev-v1.0.json": json.dumps({"data": [conversation]}),
        "kl_divergence_results.json": json.dumps(kl),
    }
    for files in ("_FILES", "_EXTRA_FILES"):
        stand_in = {}
        for name, (path, _) in getattr(released, files).items():
            rows = contents[Path(path).name]
            text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
            path = path.removeprefix("https://")  # CoQA's own server is stood in for as well
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
            stand_in[name] = (path, hashlib.sha256(text.encode()).hexdigest())
        monkeypatch.setattr(released, files, stand_in)
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
        monkeypatch.setattr(released, "_ADDRESS", f"http://127.0.0.1:{http.server_port}/")
        yield repository
        http.shutdown()


def test_files_are_fetched_checked_and_joined(server, tmp_path):
    released.fetch(tmp_path / "data")
    table = released.responses(tmp_path / "data")
    assert list(table.columns) == ["model", "benchmark", "question", "response", "gold"]
    golds = table.groupby(["benchmark", "model"], sort=False)["gold"].agg(list)
    rl, sft = "UniReason-Qwen3-14B (RL)", "UniReason-Qwen3-14B-think (SFT)"
    assert list(golds.index) == [
        *(("math500", rl), ("math500", sft), ("ifeval", rl)),
        *(("coqa", rl), ("coqa", sft), ("gpqa_diamond", rl), ("gpqa_diamond", sft)),
    ]
    assert golds["math500", rl] == ["7"]
    assert golds["ifeval", rl][1]["kwargs"] == [{"num_placeholders": 1}]  # as the prompt was sent
    assert golds["coqa", sft] == [["a boat", "The boat"], ["no"], None]  # the turn before the last, too
    assert golds["gpqa_diamond", sft] == ["C", "A", None]
    assert released.kl(tmp_path / "data")["kl"].tolist() == [0.25, 0.25]


def test_the_rest_is_scored_without_extra_files(server, tmp_path, capsys):
    """CoQA's own server may be gone, and GPQA's files may not be wanted: other files have less to say, and say it."""
    coqa = "benchmarks/coqa-dev-v1.0.json"
    (server / released._EXTRA_FILES[coqa][0]).unlink()
    released.fetch(tmp_path / "data")
    assert f"{coqa} could not be fetched" in capsys.readouterr().out
    (tmp_path / "data" / "benchmarks" / "gpqa_diamond.csv").unlink()
    conversation = {"story": "None of these.", "questions": [], "answers": [], "additional_answers": {}}
    (tmp_path / "data" / "benchmarks" / "coqa_dev.jsonl").write_text(json.dumps(conversation))
    table = released.responses(tmp_path / "data")
    assert set(table["benchmark"]) == {"math500", "ifeval", "coqa"}
    assert table.loc[table["benchmark"] == "coqa", "gold"].isna().all()


def test_choices_that_cannot_be_read_are_refused(server, tmp_path):
    released.fetch(tmp_path / "data")
    path = tmp_path / "data" / "benchmarks" / "gpqa_diamond.csv"
    path.write_text(path.read_text().replace("2 + 2", "2 + 3"))
    with pytest.raises(ValueError, match="row 0 of gpqa_diamond"):
        released._gpqa_golds(tmp_path / "data", GPQA_PROMPTS)


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
