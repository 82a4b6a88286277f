"""The authors' released generations, from a folder or from their public repository at a pinned commit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pooch

from mathtransfer.json_lines import read_lines
from mathtransfer.paper.reported import CONTROLLED_STUDY

_REPOSITORY = "ReasoningTransfer/Transferability-of-LLM-Reasoning"  # MIT licence
_COMMIT = "1d3407d954e6683e38bcc6486b6e413ef1701d0a"
_ADDRESS = f"https://raw.githubusercontent.com/{_REPOSITORY}/{_COMMIT}"
_OUTPUTS, _KL = (
    "analysis_token_distribution_shift/finetuned_model_response",
    "analysis_token_distribution_shift/ppl_data",
)
_BENCHMARKS = "eval/evalchemy/eval/chat_benchmarks"
# File below the data folder -> file in the repository, SHA-256.
_FILES = {
    "released_generations/UniReason-RL_hendrycks_math_500.jsonl": (
        f"{_OUTPUTS}/UniReason-RL_hendrycks_math_500.jsonl",
        "1f33911c5599fb63711cae3b37faa21777cf2d7f53c7b1e607d3dff493ea4da3",
    ),
    "released_generations/UniReason-SFT_hendrycks_math_500.jsonl": (
        f"{_OUTPUTS}/UniReason-SFT_hendrycks_math_500.jsonl",
        "16415f08a1fbdcf82e3fb362d070fe618ae50cbe375b3c0defdc3f659713c8d3",
    ),
    "released_generations/UniReason-RL_ifeval.jsonl": (
        f"{_OUTPUTS}/UniReason-RL_ifeval.jsonl",
        "5c91963f5da8ffe0804b091ab5a139ddde2eba78519e1d0b37ddab33d1474442",
    ),
    "released_generations/kl_unireason_rl.json": (
        f"{_KL}/UniReason-RL/kl_divergence_results.json",
        "b91f7d8ea1968e7532010b50d50644e8e7ffa92356c8164e2fcf2bfb1c484a19",
    ),
    "released_generations/kl_unireason_sft.json": (
        f"{_KL}/UniReason-SFT/kl_divergence_results.json",
        "051c2fc6099be7c3cd72d36c39fd8751c5aa7eb8bb7640c35e7f4a44d6282eee",
    ),
    "benchmarks/math500.jsonl": (
        f"{_BENCHMARKS}/MATH500/data/math500.jsonl",
        "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
    ),
    "benchmarks/ifeval.jsonl": (
        f"{_BENCHMARKS}/IFEval/data/input_data.jsonl",
        "67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
    ),
}
_MODELS = dict(zip(("RL", "SFT"), CONTROLLED_STUDY, strict=False))
_GENERATIONS = [("RL", "math500"), ("SFT", "math500"), ("RL", "ifeval")]
# This prompt was sent with "at least one placeholder" where the benchmark now says "at least 3 placeholders".
_CHANGED_KEY, _CHANGED_PHRASE, _CHANGED_VALUE = 2785, "at least one placeholder", {"num_placeholders": 1}


def fetch(data_root: str | Path) -> None:
    """Download what is missing from the authors' repository at the pinned commit; every file's hash is checked.

    Raises:
        ValueError: a file came with another hash. It is not kept.
    """
    for name, (source, digest) in _FILES.items():
        path = Path(data_root, name)
        if not path.is_file():
            pooch.retrieve(f"{_ADDRESS}/{source}", f"sha256:{digest}", fname=path.name, path=path.parent)


def _check(data_root: str | Path) -> None:
    """Make sure that all files are there and are the ones that were released.

    A copy of the IFEval questions may be written in another way; those are checked by their prompts (`responses`).

    Raises:
        FileNotFoundError: a file is missing; the message says where to get it.
        ValueError: a file has another hash than the released one.
    """
    if missing := [name for name in _FILES if not Path(data_root, name).is_file()]:
        raise FileNotFoundError(
            f"{data_root} lacks {', '.join(missing)}: get them from github.com/{_REPOSITORY} at commit {_COMMIT[:12]}, "
            "or set download to True"
        )
    for name, (_, digest) in _FILES.items():
        if name != "benchmarks/ifeval.jsonl":
            found = hashlib.sha256(Path(data_root, name).read_bytes()).hexdigest()
            if found != digest:
                raise ValueError(f"{data_root}/{name} is not the released file: SHA-256 {found}, expected {digest}")


def responses(data_root: str | Path) -> pd.DataFrame:
    """Every released response beside what it is graded against.

    Returns:
        `model, benchmark, question, response, gold`, 1,541 rows. `question` is the row in the benchmark. `gold` is the
        answer's LaTeX for MATH-500, and for IFEval the benchmark's own record (prompt, instructions, their arguments).

    Raises:
        FileNotFoundError, ValueError: the files are not all there, or not the released ones.
        ValueError: a response was made for another question than the benchmark has in its place.
    """
    _check(data_root)
    tables = []
    for name, benchmark in _GENERATIONS:
        stem = "hendrycks_math_500" if benchmark == "math500" else benchmark
        outputs = read_lines(Path(data_root, "released_generations", f"UniReason-{name}_{stem}.jsonl"))
        questions = read_lines(Path(data_root, "benchmarks", f"{benchmark}.jsonl"))
        rows = [
            (_MODELS[name], benchmark, i, output["output"], _gold(benchmark, i, question, output["input"]))
            for i, (question, output) in enumerate(zip(questions, outputs, strict=True))
        ]
        # As objects: pandas' own text type refuses what a model may write, such as half of a surrogate pair.
        tables.append(pd.DataFrame(rows, columns=["model", "benchmark", "question", "response", "gold"], dtype=object))
    return pd.concat(tables, ignore_index=True)


def _gold(benchmark: str, row: int, question: dict, sent: str) -> str | dict:
    asked = question["problem" if benchmark == "math500" else "prompt"]
    if asked not in sent:
        if question.get("key") != _CHANGED_KEY or _CHANGED_PHRASE not in sent:
            raise ValueError(f"row {row} of {benchmark}: the released prompt does not hold the benchmark's question")
        kwargs = [_CHANGED_VALUE if "num_placeholders" in own else own for own in question["kwargs"]]
        question = question | {"kwargs": kwargs, "prompt": sent}
    return question["answer"] if benchmark == "math500" else question


def kl(data_root: str | Path) -> pd.DataFrame:
    """The KL divergences from the base that the authors released: `model, benchmark, kl, items, tokens` (nats a token).

    Raises:
        FileNotFoundError, ValueError: the files are not all there, or not the released ones.
    """
    _check(data_root)
    rows = []
    for name, model in _MODELS.items():
        (found,) = json.loads(Path(data_root, "released_generations", f"kl_unireason_{name.lower()}.json").read_text())
        rows.append((model, found["task"], found["kl_divergence"], found["num_data_points"], found["total_tokens"]))
    return pd.DataFrame(rows, columns=["model", "benchmark", "kl", "items", "tokens"])
