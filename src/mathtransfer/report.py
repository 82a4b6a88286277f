"""What did my fine-tuning change? One page and one JSON for any two checkpoints with the same tokenizer.

Weights, hidden states, next-token distributions and, if asked for, scores. Every finding is a plain sentence with its
interval; nothing is added up into one score.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mathtransfer import GROUPS, evaluate, generate, latent, models, runs, tokens, transfer, weights
from mathtransfer.report_page import Finding, figures, findings, group_name, page

EVERYTHING = "all prompts"  # the group of prompts that have none
FILES = {"report.html", "report.json", "tokens.parquet", "layers.csv", "manifest.json", "identity.json"}


@dataclass(frozen=True)
class Comparison:
    """The tables of two checkpoints' comparison.

    `weights` of `weight_changes`; `latent` and `layers` of `latent.over_layers` and `by_layer`, with `group`; `tokens`
    of `tokens.token_drift`, described, with `group`; `gains` (`group, benchmark, base_score, tuned_score, gain, low,
    high`) and `indices` of `transferability`, both None where no scores were asked for; `left_out`: what, and why.
    """

    weights: pd.DataFrame
    latent: pd.DataFrame
    layers: pd.DataFrame
    tokens: pd.DataFrame
    gains: pd.DataFrame | None
    indices: pd.DataFrame | None
    left_out: list[str]


def run(
    base: str,
    tuned: str,
    *,
    out: str,
    prompts: str = "",
    suite: str = "",
    n: int = 20,
    scores: bool = False,
    **settings,
) -> tuple[Comparison, list[Finding], dict]:
    """The whole report, from two names to a folder; what was measured, the findings and the figures (see `figures`).

    Args:
        out: the run folder to write: `report.html`, `report.json`, tables and manifest.
        prompts, suite, n: see `choose_prompts`.
        scores: also score both models on the suite.
        settings: as `compare` takes them.

    Raises:
        FileNotFoundError, ValueError: what was asked for does not exist or does not fit together.
        FileExistsError: `out` holds something else than a report, which would be lost.
    """
    final = Path(out).resolve()
    unfinished = Path(f"{final}.partial")
    for folder in (final, unfinished):
        _check_nothing_is_lost(folder)
    if scores and not suite:
        raise ValueError("scores need a suite: name one, or leave scores out")
    chosen = choose_prompts(prompts, suite, n)
    for model in (base, tuned):
        models.check_checkpoint(models.resolve(model))
    asked = {"base": base, "tuned": tuned, "prompts": prompts, "suite": suite, "n": n, "scores": scores, **settings}
    try:
        with runs.run_folder(str(final), "report", asked, base_fingerprint=models.fingerprint(base)) as folder:
            found = compare(base, tuned, chosen, suite=suite if scores else "", **settings)
            said, drawn = findings(found), figures(found)
            write(folder, base, tuned, found, said, drawn)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)  # nothing in it could be resumed
        raise
    return found, said, drawn


def _check_nothing_is_lost(folder: Path) -> None:
    """Refuse to replace anything but a folder with files of a report only (Snakemake removes its manifest first)."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder")
    if folder.exists() and (others := sorted({path.name for path in folder.iterdir()} - FILES)):
        raise FileExistsError(f"{folder} holds {others[0]}, which is no part of a report: name another folder")


# --- prompts


def read_prompts(path: str | Path) -> pd.DataFrame:
    """Prompts from a text file, one a line; a line that begins with `# ` names the group of those below it.

    Returns:
        `group, prompt`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no prompt is in it, or it is not text.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file of prompts {str(path)!r}: give a text file with one prompt a line")
    group, rows = EVERYTHING, []
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8: give a text file with one prompt a line") from error
    for line in text.split("\n"):
        if line.startswith("# "):
            group = line[2:].strip()
        elif line.strip():
            rows.append((group, line.strip()))
    if not rows:
        raise ValueError(f"{path} holds no prompt: write one a line")
    return pd.DataFrame(rows, columns=["group", "prompt"])


def choose_prompts(file: str, suite: str, n: int) -> pd.DataFrame:
    """`group, prompt` from a file or from a suite, whichever is named.

    Args:
        n: prompts of each benchmark of a suite.

    Raises:
        ValueError: neither or both are named, or there is no such suite.
    """
    if bool(file) == bool(suite):
        raise ValueError("name either a suite or a text file of prompts, and not both")
    return read_prompts(file) if file else evaluate.prompts(suite, list(GROUPS), evaluate.Asking(n=n))


# --- measuring


def compare(
    base: str,
    tuned: str,
    prompts: pd.DataFrame,
    *,
    suite: str = "",
    max_tokens: int = 128,
    batch_size: int = 16,
    chat: bool = False,
    together: bool = True,
    seed: int = 0,
) -> Comparison:
    """Measure what a fine-tuning changed; says on standard output what it is doing.

    Args:
        base, tuned: checkpoint folders or hub ids with the same tokenizer.
        prompts: `group, prompt`.
        suite: a suite to score both models on, by its prompts among `prompts`; none to leave scores out.
        max_tokens: the longest completion that drift is measured on.
        chat: put each prompt into the tuned model's chat template.
        together: hold both models at once while tokens are compared.
        seed: for the sampled completions.

    Raises:
        FileNotFoundError, ValueError: a checkpoint is missing or damaged, the tokenizers differ, or there is no prompt.
    """
    tokenizer = models.load_tokenizer(tuned)
    models.check_same_vocabulary(tokenizer, models.load_tokenizer(base))
    encoded = generate.encode(tokenizer, list(prompts["prompt"]), chat)
    prompts = prompts.reset_index(drop=True)
    print("weights", flush=True)
    changes = weights.weight_changes(base, tuned)
    if damaged := changes.loc[~np.isfinite(changes[["base_square", "update_square"]]).all(axis=1), "tensor"].tolist():
        raise ValueError(f"there are numbers that are not finite in {damaged[0]} ({len(damaged)} tensors have some)")
    load_base, load_tuned = partial(models.load_model, base), partial(models.load_model, tuned)
    print(f"completions of {len(prompts)} prompts", flush=True)
    decoding = generate.Decoding(max_tokens, generate.DECODINGS["sampled"])
    completions = generate.Transformers(load_tuned(), tokenizer, batch_size).complete(encoded, decoding, seed)
    print("token drift", flush=True)
    sequences = [(prompt, completion.tokens) for prompt, completion in zip(encoded, completions, strict=True)]
    drift = tokens.token_drift(load_tuned, load_base, sequences, together=together, batch_size=batch_size)
    drift = tokens.describe(drift, tokenizer).join(prompts["group"], on="text")
    print("latent drift", flush=True)
    whole, layers, left_out = _latent(load_base, load_tuned, tokenizer, prompts, batch_size)
    gains = indices = None
    if suite:
        print(f"scores on the suite {suite}", flush=True)
        gains, indices = _scores(load_base, load_tuned, tokenizer, suite, prompts, seed)
    return Comparison(changes, whole, layers, drift, gains, indices, left_out)


def _latent(load_base, load_tuned, tokenizer, prompts, batch_size) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Mean-pooled states of one model after the other, compared by group."""
    texts = list(prompts["prompt"])
    before, after = (latent.pooled_states(load(), tokenizer, texts, batch_size)[0] for load in (load_base, load_tuned))
    whole, layers, left_out = [], [], []
    for group, members in prompts.groupby("group", sort=False).indices.items():
        what, n = f"hidden states on {group_name(group)}", len(members)
        if n < latent.LEAST_TEXTS:
            left_out.append(f"{what}, which need at least {latent.LEAST_TEXTS} prompts ({n} found)")
            continue
        found = latent.measures(before[:, members], after[:, members])
        summary = latent.over_layers(*found)
        if summary.set_index("metric").loc[["centroid_shift", "cka"], "value"].isna().any():
            left_out.append(f"{what}, whose prompts are too much alike")
            continue
        whole.append(summary.assign(group=group, n=n))
        layers.append(latent.by_layer(*found).assign(group=group))
    columns = ["group", "metric", "value", "low", "high"]
    whole = pd.concat(whole, ignore_index=True) if whole else pd.DataFrame(columns=columns)
    layers = pd.concat(layers, ignore_index=True) if layers else pd.DataFrame(columns=[*columns, "layer"])
    return whole, layers, left_out


def _scores(load_base, load_tuned, tokenizer, suite, prompts, seed) -> tuple[pd.DataFrame, pd.DataFrame]:
    n = int(prompts.groupby("benchmark").size().max())
    answers = []
    for name, load in {"base": load_base, "tuned": load_tuned}.items():
        engine = generate.Transformers(load(), tokenizer)
        parts = evaluate.questions(suite, list(GROUPS), evaluate.Asking(n=n), tokenizer, engine.budget)
        with tempfile.TemporaryDirectory() as unfinished:
            _, samples = evaluate.evaluate(engine, parts, seed=seed, folder=Path(unfinished))
        mean = samples.groupby(["group", "benchmark", "question"], sort=False)["score"].mean().reset_index()
        answers.append(mean.assign(model=name, value=100.0 * mean["score"]))
    answers = pd.concat(answers, ignore_index=True)[["model", "group", "benchmark", "question", "value"]]
    pairs = answers.pivot(index=["group", "benchmark", "question"], columns="model", values="value").reset_index()
    rows = []
    for (group, benchmark), own in pairs.groupby(["group", "benchmark"], sort=False):
        difference = (own["tuned"] - own["base"]).to_numpy()[:, None]
        gain, _, low, high = tokens.ratio_of_sums(difference, np.ones(len(own)))[0]
        rows.append((group, benchmark, own["base"].mean(), own["tuned"].mean(), gain, low, high))
    columns = ["group", "benchmark", "base_score", "tuned_score", "gain", "low", "high"]
    return pd.DataFrame(rows, columns=columns), transfer.transferability(answers, {"tuned": "base"}, "per_model")


def write(folder: str | Path, base: str, tuned: str, found: Comparison, said: list[Finding], drawn: dict) -> None:
    """`report.html`, `report.json` and the tables behind them."""
    folder = Path(folder)
    (folder / "report.html").write_text(page(base, tuned, found, said, drawn), encoding="utf-8")
    tables = {"weights": weights.summarise_changes(found.weights, ["layer", "kind"]), "latent": found.latent}
    tables["tokens_by_group"] = tokens.summarise(found.tokens, ["group"])
    if not found.tokens["looping"].all():
        tables["most_moved"] = tokens.most_moved(found.tokens)
    tables |= {name: table for name in ("gains", "indices") if (table := getattr(found, name)) is not None}
    data = {"base": base, "tuned": tuned, "findings": [asdict(finding) for finding in said], "left_out": found.left_out}
    data |= {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    (folder / "report.json").write_text(json.dumps(_without_nan(data), indent=1, ensure_ascii=False), encoding="utf-8")
    found.tokens.to_parquet(folder / "tokens.parquet", index=False)
    found.layers.to_csv(folder / "layers.csv", index=False)


def _without_nan(data):
    """JSON has no number that is not finite: null instead."""
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
