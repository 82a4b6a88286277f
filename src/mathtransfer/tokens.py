"""Token drift: two models on one text, compared token by token (Sections 4.1 and 4.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mathtransfer.divergence import Readout, Sequence, check_readout, divergences, readout
from mathtransfer.repeats import repeated_ending

Load = Callable[[], PreTrainedModel]
Tokens = tuple[int, ...]
CLASSES = ("logical connective", "number", "content word", "format")
# Ours: words that join steps of an argument. The paper speaks of "logical-structural" words without a list.
CONNECTIVES = frozenset(
    re.findall(
        r"\w+",
        """therefore thus hence so because since as if then else but however although though while whereas unless
        otherwise and or not nor also moreover furthermore instead rather finally first second next now let suppose
        assume given consider note wait alternatively similarly conversely consequently accordingly indeed again yet
        still""",
    )
)
LOOP_TOKENS = 24  # least length of all repeats in a completion that is said to loop
METRICS = ("kl", "kl_reverse", "js", "log_ratio", "rank_shift", "shifted")
DRAWS = 1000  # resamples of the prompts


def token_drift(
    load_tuned: Load,
    load_base: Load,
    sequences: list[Sequence],
    *,
    together: bool = True,
    batch_size: int = 32,
    top: int = 5,
) -> pd.DataFrame:
    """Compare two models on completions, the end-of-text token included.

    Args:
        load_tuned, load_base: give the models when called.
        sequences: token ids of prompts and completions.
        together: hold both models at once; otherwise one after the other, with their final hidden states and output
            projections kept. The result is the same.
        top: how many of either model's likeliest tokens to keep for every token.

    Returns:
        One row a token: `text` (number of the sequence), `position` in the completion, `length` of the completion in
        tokens, `token` (id), what `divergences` gives, and `log_ratio`, log p_tuned less log p_base of the token (the
        estimator of KL that the paper's authors use), and `rank_shift`, base less tuned (positive where tuning raised
        the token).

    Raises:
        ValueError: there is no completion with a token, a prompt is empty, or the models cannot be compared.
    """
    filled = [number for number, (_, completion) in enumerate(sequences) if completion]
    if not filled:
        raise ValueError("no completion has a token: there is nothing to compare")
    filled.sort(key=lambda number: len(sequences[number][0]) + len(sequences[number][1]))  # little padding in a batch
    batches = [filled[start : start + batch_size] for start in range(0, len(filled), batch_size)]
    batched = [[sequences[number] for number in batch] for batch in batches]
    if together:
        tuned, base = _checked(load_tuned, sequences[filled[0]]), _checked(load_base, sequences[filled[0]])
        pairs: Iterator = ((readout(tuned, batch), readout(base, batch)) for batch in batched)
    else:
        pairs = zip(_all_readouts(load_tuned, batched), _all_readouts(load_base, batched), strict=True)
    tables = []
    for number, (batch, pair) in enumerate(zip(batches, pairs, strict=True), start=1):
        tables.append(_table(batch, sequences, divergences(*pair, _observed(batch, sequences), top)))
        if number % max(1, len(batches) // 10) == 0:
            print(f"token drift: batch {number} of {len(batches)}", flush=True)
    return pd.concat(tables).sort_values(["text", "position"], ignore_index=True)


def _checked(load: Load, sequence: Sequence) -> PreTrainedModel:
    model = load()
    check_readout(model, sequence)
    return model


def _all_readouts(load: Load, batches: list[list[Sequence]]) -> list[Readout]:
    """Every batch's hidden states, kept off the GPU, and the output projection; the rest of the model is let go."""
    model = _checked(load, batches[0][0])
    reads = [readout(model, batch) for batch in batches]
    return [Readout(read.hidden.cpu(), read.weight, read.bias) for read in reads]


def _observed(batch: list[int], sequences: list[Sequence]) -> torch.Tensor:
    return torch.tensor([token for number in batch for token in sequences[number][1]])


def _table(batch: list[int], sequences: list[Sequence], measured: dict[str, torch.Tensor]) -> pd.DataFrame:
    lengths = [len(sequences[number][1]) for number in batch]
    table = {
        "text": np.repeat(batch, lengths),
        "position": np.concatenate([np.arange(length) for length in lengths]),
        "length": np.repeat(lengths, lengths),
        "token": _observed(batch, sequences).numpy(),
    }
    for name, values in measured.items():
        table[name] = values.numpy() if values.dim() == 1 else list(values.numpy())
    table["log_ratio"] = table["logp_tuned"] - table["logp_base"]
    table["rank_shift"] = table["rank_base"] - table["rank_tuned"]
    return pd.DataFrame(table)


# --- what the tokens are


def describe(table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """The table of `token_drift` with `piece` (the token's text), its `class`, and `looping`.

    `looping` marks the end of a completion where the same tokens come three times in a row or more, over at least 24
    tokens: there both models are sure of the next token, which draws every mean towards zero. `top_tuned` and
    `top_base` become texts.
    """
    ids = table["token"].tolist()
    texts = [own.tolist() for _, own in table.groupby("text", sort=False)["token"]]
    contexts = [context for tokens in texts for context in _contexts(tokenizer, tokens)]
    piece = [_piece(tokenizer, *context, token) for context, token in zip(contexts, ids, strict=True)]
    special = set(tokenizer.all_special_ids)
    classes = ["format" if token in special else token_class(text) for token, text in zip(ids, piece, strict=True)]
    looping = np.concatenate([_looping(tokens) for tokens in texts])
    likeliest = {
        name: [
            [_piece(tokenizer, *context, token) for token in top]
            for context, top in zip(contexts, table[name], strict=True)
        ]
        for name in ("top_tuned", "top_base")
    }
    return table.assign(**{"piece": piece, "class": classes, "looping": looping, **likeliest})


def _contexts(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> Iterator[tuple[Tokens, Tokens]]:
    """What stands before each token of a text: the last tokens with a text, and those that began a character since."""
    told, begun = (), ()
    for token in tokens:
        yield told, begun
        begun += (token,)
        if not _unfinished(tokenizer, told, begun):
            told, begun = begun, ()


def _unfinished(tokenizer: PreTrainedTokenizerBase, told: Tokens, begun: Tokens) -> bool:
    """Whether the tokens end within a character, which has four bytes at most."""
    return len(begun) < 4 and _text(tokenizer, told + begun).endswith("\ufffd")


def _piece(tokenizer: PreTrainedTokenizerBase, told: Tokens, begun: Tokens, token: int) -> str:
    """A token's text, with the space that some tokenizers write only between two tokens.

    A character of several tokens is the last one's.
    """
    begun += (token,)
    if _unfinished(tokenizer, told, begun):
        return ""
    before, after = _text(tokenizer, told), _text(tokenizer, told + begun)
    return after[len(before) :] if after.startswith(before) else _text(tokenizer, begun)


@lru_cache(maxsize=2**17)
def _text(tokenizer: PreTrainedTokenizerBase, tokens: Tokens) -> str:
    return tokenizer.decode(list(tokens))


def token_class(piece: str) -> str:
    """One of `CLASSES`: a number has a digit, a content word a letter and is no connective, the rest is format."""
    word = piece.strip().lower()
    if re.search(r"\d", word):
        return "number"
    if word in CONNECTIVES:
        return "logical connective"
    is_markup = word.startswith(("<", "[", "\\"))  # tags and LaTeX commands
    is_word = re.search(r"[^\W\d_]", word) and not is_markup
    return "content word" if is_word else "format"


def _looping(tokens: list[int]) -> np.ndarray:
    length = repeated_ending(tokens)
    return np.arange(len(tokens)) >= len(tokens) - (length if length >= LOOP_TOKENS else 0)


# --- means


def summarise(drift: pd.DataFrame, by: list[str], metrics: tuple[str, ...] = METRICS, seed: int = 0) -> pd.DataFrame:
    """Means over tokens, with errors and intervals that respect that tokens of one text belong together.

    Args:
        drift: the table of `token_drift`; `text` says which text a token is of.
        by: the columns of a group, none for all tokens.
        metrics: columns; for `rank_shift` the absolute shift is averaged, `shifted` is the percentage of tokens whose
            rank differs.

    Returns:
        `*by, metric, value, stderr, low, high, n` (texts), `tokens`. The standard error is that of a ratio of sums over
        texts (linearised); the 95% interval resamples the texts.
    """
    measured = drift.assign(rank_shift=drift["rank_shift"].abs(), shifted=100.0 * (drift["rank_shift"] != 0))
    groups = measured.groupby(by, sort=False) if by else [((), measured)]
    rows = []
    for key, tokens in groups:
        sums = tokens.groupby("text")[list(metrics)].sum().to_numpy(float)  # (texts, metrics)
        counts = tokens.groupby("text").size().to_numpy(float)  # (texts,)
        for metric, row in zip(metrics, ratio_of_sums(sums, counts, seed), strict=True):
            rows.append((*key, metric, *row, len(counts), int(counts.sum())))
    return pd.DataFrame(rows, columns=[*by, "metric", "value", "stderr", "low", "high", "n", "tokens"])


def ratio_of_sums(sums: np.ndarray, counts: np.ndarray, seed: int = 0) -> np.ndarray:
    """Sum over texts of a quantity by that of the counts, for every quantity.

    Args:
        sums: `(texts, quantities)`.
        counts: `(texts,)`.

    Returns:
        Value, standard error, low and high end of the 95% interval over texts, `(quantities, 4)`; all but the value nan
        where there is one text.
    """
    n, total = len(counts), counts.sum()
    value = sums.sum(0) / total
    if n < 2:
        return np.stack([value, *[np.full_like(value, np.nan)] * 3], axis=1)
    residuals = sums - value * counts[:, None]
    stderr = np.sqrt(n / (n - 1) * (residuals**2).sum(0)) / total
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS)  # how often each text is drawn
    low, high = np.quantile(times @ sums / (times @ counts)[:, None], [0.025, 0.975], axis=0)
    return np.stack([value, stderr, low, high], axis=1)


def published_kl(drift: pd.DataFrame) -> float:
    """The divergence as the authors' script estimates it, in nats.

    The absolute value of the mean over texts of the mean log-ratio of a text's tokens, its first token left out. Theirs
    reads greedy text, on which the log-ratio estimates nothing: a token is there because it is the tuned model's best.
    """
    return abs(float(drift[drift["position"] > 0].groupby("text")["log_ratio"].mean().mean()))


def shift_coverage(drift: pd.DataFrame) -> pd.Series:
    """How much of each text the rank shifts are spread over: percent of its tenths that hold a shifted token. Ours.

    Texts of fewer than ten tokens are left out.
    """
    long = drift[drift["length"] >= 10]
    tenth = (10 * long["position"] // long["length"]).rename("tenth")
    return 100.0 * (long["rank_shift"] != 0).groupby([long["text"], tenth]).any().groupby("text").mean()


def most_moved(drift: pd.DataFrame, n: int = 15, around: int = 6) -> pd.DataFrame:
    """The tokens that carry most of the divergence, with the place where each moved most. Loops are left out.

    Args:
        drift: the table of `token_drift`, described.
        n: how many tokens at most.
        around: tokens of context on either side.

    Returns:
        `piece, class, share` (percent of all divergence), `count, kl` (mean, nats), `example`.
    """
    told = drift[~drift["looping"]].assign(piece=drift["piece"].replace("", "\ufffd").str.strip().replace("", "↵"))
    by_piece = told.groupby("piece").agg(**{"class": ("class", "first"), "kl": ("kl", "mean"), "count": ("kl", "size")})
    by_piece["share"] = 100.0 * told.groupby("piece")["kl"].sum() / max(told["kl"].sum(), 1e-300)
    top = by_piece.nlargest(n, "share")
    examples = []
    for piece in top.index:
        place = told[told["piece"] == piece]["kl"].idxmax()
        own = drift.loc[drift["text"] == drift.loc[place, "text"]]
        near = own[(own["position"] - drift.loc[place, "position"]).abs() <= around]
        examples.append("".join(f"[{p}]" if i == place else p for i, p in near["piece"].items()))
    return top.assign(example=examples).reset_index()[["piece", "class", "share", "count", "kl", "example"]]
