"""The authors' released generations, from a folder or from their public repository at a pinned commit."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pandas as pd
import pooch

from mathtransfer.json_lines import read_lines
from mathtransfer.paper.reported import CONTROLLED_STUDY

_REPOSITORY = "ReasoningTransfer/Transferability-of-LLM-Reasoning"  # MIT licence
_COMMIT = "1d3407d954e6683e38bcc6486b6e413ef1701d0a"
_ADDRESS = f"https://raw.githubusercontent.com/{_REPOSITORY}/{_COMMIT}/"
_OUTPUTS, _KL = (
    "analysis_token_distribution_shift/finetuned_model_response",
    "analysis_token_distribution_shift/ppl_data",
)
_BENCHMARKS = "eval/evalchemy/eval/chat_benchmarks"
_COQA = "https://downloads.cs.stanford.edu/nlp/data/coqa/coqa-dev-v1.0.json"
# File below the data folder -> file in the repository (or a whole address), SHA-256.
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
    "released_generations/UniReason-RL_coqa.jsonl": (
        f"{_OUTPUTS}/UniReason-RL_coqa.jsonl",
        "4bcd87600e962c80c266d9e5692eafe6854bb316b9b75fbd444dda09a656c13f",
    ),
    "released_generations/UniReason-SFT_coqa.jsonl": (
        f"{_OUTPUTS}/UniReason-SFT_coqa.jsonl",
        "9be1f43e7a8737a1a0ae2cdbb0ca8d41939f056bbf0c466fecf81708e2da4999",
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
# Without these the rest can still be scored. The first three hold questions of GPQA, whose authors ask that they be not
# published; the last is CoQA's own development set, whose hash is that of the dataset hub's loader.
_EXTRA_FILES = {
    "released_generations/UniReason-RL_gpqa_diamond_cot_zeroshot.jsonl": (
        f"{_OUTPUTS}/UniReason-RL_gpqa_diamond_cot_zeroshot.jsonl",
        "bf5330afdb035a1cf4e31d9ddefd2a415f3a74c3123f66a8481d099adac1fbf8",
    ),
    "released_generations/UniReason-SFT_gpqa_diamond_cot_zeroshot.jsonl": (
        f"{_OUTPUTS}/UniReason-SFT_gpqa_diamond_cot_zeroshot.jsonl",
        "d1e3ffb130f0e9ea36ade59b11715b2820c190958b7ce5f6eb26c4cc5b85bf4c",
    ),
    "benchmarks/gpqa_diamond.csv": (
        f"{_BENCHMARKS}/GPQADiamond/data/gpqa_diamond.csv",
        "1af0bf8b02ca517589160c38eaca664d414c56abb2c338e41ce83068f7e595e5",
    ),
    "benchmarks/coqa-dev-v1.0.json": (_COQA, "dfa367a9733ce53222918d0231d9b3bedc2b8ee831a2845f62dfc70701f2540a"),
}
_MODELS = dict(zip(("RL", "SFT"), CONTROLLED_STUDY, strict=False))
# Benchmark -> the models, and how its files are called.
_GENERATIONS = {
    "math500": (["RL", "SFT"], "hendrycks_math_500"),
    "ifeval": (["RL"], "ifeval"),
    "coqa": (["RL", "SFT"], "coqa"),
    "gpqa_diamond": (["RL", "SFT"], "gpqa_diamond_cot_zeroshot"),
}
_CHOICES = re.compile(r"\nChoices:\nA\. (.*)\nB\. (.*)\nC\. (.*)\nD\. (.*)\nFinish your answer", re.DOTALL)
# This prompt was sent with "at least one placeholder" where the benchmark now says "at least 3 placeholders".
_CHANGED_KEY, _CHANGED_PHRASE, _CHANGED_VALUE = 2785, "at least one placeholder", {"num_placeholders": 1}


def fetch(data_root: str | Path) -> None:
    """Download what is missing from the authors' repository at the pinned commit; every file's hash is checked.

    CoQA's development set comes from its own authors. If an extra file cannot be had, that is printed.

    Raises:
        ValueError: a file came with another hash. It is not kept.
    """
    for name in _FILES:
        _retrieve(data_root, name)
    for name in _EXTRA_FILES:
        try:
            _retrieve(data_root, name)
        except OSError as error:
            print(f"{name} could not be fetched: {error}")


def _retrieve(data_root: str | Path, name: str) -> None:
    path, (source, digest) = Path(data_root, name), (_FILES | _EXTRA_FILES)[name]
    if not path.is_file():
        pooch.retrieve(urljoin(_ADDRESS, source), f"sha256:{digest}", fname=path.name, path=path.parent)


def _check(data_root: str | Path) -> None:
    """Make sure that all files but the extra ones are there, and that all are the ones that were released.

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
    for name, (_, digest) in (_FILES | _EXTRA_FILES).items():
        path = Path(data_root, name)
        if path.is_file() and name != "benchmarks/ifeval.jsonl":
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != digest:
                raise ValueError(f"{data_root}/{name} is not the released file: SHA-256 {found}, expected {digest}")


def responses(data_root: str | Path) -> pd.DataFrame:
    """Every released response beside what it is graded against.

    Returns:
        `model, benchmark, question, response, gold`, 2,541 rows, and 396 more if the GPQA files are there. `question`
        is the row in the file. `gold` is the answer's LaTeX for MATH-500, the benchmark's own record (prompt,
        instructions, their arguments) for IFEval, the annotators' answers for CoQA, and a letter for GPQA; None if the
        data folder does not have CoQA's conversation, or if no one letter is right.

    Raises:
        FileNotFoundError, ValueError: the files are not all there, or not the released ones.
        ValueError: a response was made for another question than the benchmark has in its place.
    """
    _check(data_root)
    tables = []
    for benchmark, (models, stem) in _GENERATIONS.items():
        for name in models:
            path = Path(data_root, "released_generations", f"UniReason-{name}_{stem}.jsonl")
            if benchmark == "gpqa_diamond" and not (path.is_file() and _gpqa_file(data_root).is_file()):
                continue
            outputs = list(read_lines(path))
            golds = _GOLDS[benchmark](data_root, [output["input"] for output in outputs])
            rows = [
                (_MODELS[name], benchmark, i, output["output"], gold)
                for i, (output, gold) in enumerate(zip(outputs, golds, strict=True))
            ]
            # As objects: pandas' own text type refuses what a model may write, such as half of a surrogate pair.
            tables.append(
                pd.DataFrame(rows, columns=["model", "benchmark", "question", "response", "gold"], dtype=object)
            )
    return pd.concat(tables, ignore_index=True)


def _math_golds(data_root: str | Path, prompts: list[str]) -> list[str]:
    questions = list(read_lines(Path(data_root, "benchmarks/math500.jsonl")))
    for row, (question, prompt) in enumerate(zip(questions, prompts, strict=True)):
        _check_question("math500", row, question["problem"] in prompt)
    return [question["answer"] for question in questions]


def _check_question(benchmark: str, row: int, asked: bool) -> None:
    if not asked:
        raise ValueError(f"row {row} of {benchmark}: the released prompt does not hold the benchmark's question")


def _ifeval_golds(data_root: str | Path, prompts: list[str]) -> list[dict]:
    questions = read_lines(Path(data_root, "benchmarks/ifeval.jsonl"))
    return [_ifeval_gold(row, *pair) for row, pair in enumerate(zip(questions, prompts, strict=True))]


def _ifeval_gold(row: int, question: dict, sent: str) -> dict:
    if question["prompt"] in sent:
        return question
    _check_question("ifeval", row, question["key"] == _CHANGED_KEY and _CHANGED_PHRASE in sent)
    kwargs = [_CHANGED_VALUE if "num_placeholders" in own else own for own in question["kwargs"]]
    return question | {"kwargs": kwargs, "prompt": sent}


def _coqa_golds(data_root: str | Path, prompts: list[str]) -> list[list[str] | None]:
    """The answers to each prompt's last question, found by the whole text: the story and all turns so far."""
    whole, lines = (Path(data_root, "benchmarks", name) for name in ("coqa-dev-v1.0.json", "coqa_dev.jsonl"))
    known = {}
    for conversation in json.loads(whole.read_text("utf-8"))["data"] if whole.is_file() else read_lines(lines):
        known |= _coqa_turns(conversation)
    return [known.get(sent.partition("user\n")[2].partition("<|im_end|>")[0]) for sent in prompts]


def _coqa_turns(conversation: dict) -> dict[str, list[str]]:
    """Every prompt that the harness can make of a conversation, one a turn, and the annotators' different answers."""
    everyone = [conversation["answers"], *conversation["additional_answers"].values()]
    found, text = {}, f"{conversation['story']}\n\n"
    for question, *answers in zip(conversation["questions"], *everyone, strict=True):
        text += f"Q: {question['input_text']}\n\nA:"
        different = {}
        for answer in answers:
            different.setdefault(answer["input_text"].lower(), answer["input_text"])
        found[text] = list(different.values())
        text += f" {answers[0]['input_text']}\n\n"
    return found


def _gpqa_file(data_root: str | Path) -> Path:
    return Path(data_root, "benchmarks/gpqa_diamond.csv")


def _gpqa_golds(data_root: str | Path, prompts: list[str]) -> list[str | None]:
    """The letter of the right choice; every prompt has its choices in an order of its own."""
    with _gpqa_file(data_root).open(encoding="utf-8", newline="") as file:
        questions = list(csv.DictReader(file))
    letters = []
    for row, (question, prompt) in enumerate(zip(questions, prompts, strict=True)):
        choices = _CHOICES.search(prompt)
        _check_question("gpqa_diamond", row, question["Question"] in prompt and choices is not None)
        is_right = [choice == _as_sent(question["Correct Answer"]) for choice in choices.groups()]
        letters.append("ABCD"[is_right.index(True)] if sum(is_right) == 1 else None)
    return letters


def _as_sent(choice: str) -> str:
    """A choice as the harness sends it. What stands in brackets is dropped, which can make two choices the same."""
    return re.sub(r"\[.*?\]", "", choice.strip().replace(" [title]", ". ")).replace("  ", " ")


_GOLDS: dict[str, Callable[[str | Path, list[str]], list]] = {
    "math500": _math_golds,
    "ifeval": _ifeval_golds,
    "coqa": _coqa_golds,
    "gpqa_diamond": _gpqa_golds,
}


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
