"""What kind of token it is, how it reads, and whether it is in text that repeats itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mathtransfer.paper.endings import repeated_ending

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_Tokens = tuple[int, ...]
CLASSES = ("logical connective", "number", "content word", "format")
# Ours: words that join steps of an argument. The paper speaks of "logical-structural" words without a list.
_CONNECTIVES = frozenset(
    re.findall(
        r"\w+",
        """therefore thus hence so because since as if then else but however although though while whereas unless
        otherwise and or not nor also moreover furthermore instead rather finally first second next now let suppose
        assume given consider note wait alternatively similarly conversely consequently accordingly indeed again yet
        still""",
    )
)
_LOOP_TOKENS = 24  # least length of all repeats in a completion that is said to loop


def describe(table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """The table of `token_drift` with `piece` (the token's text), its `class`, and `looping`.

    `looping` marks the end of a completion in which the same tokens come three times in a row or more, over at least 24
    tokens: both models are sure of the next token there, which draws every mean towards zero. `top_tuned` and
    `top_base` become texts.
    """
    ids = table["token"].tolist()
    texts = [own.tolist() for _, own in table.groupby("text", sort=False)["token"]]
    contexts = [context for tokens in texts for context in _contexts(tokenizer, tokens)]
    piece = [_piece(tokenizer, *context, token) for context, token in zip(contexts, ids, strict=True)]
    special = set(tokenizer.all_special_ids)
    classes = ["format" if token in special else _token_class(text) for token, text in zip(ids, piece, strict=True)]
    looping = np.concatenate([_looping(tokens) for tokens in texts])
    likeliest = {
        name: [
            [_piece(tokenizer, *context, token) for token in top]
            for context, top in zip(contexts, table[name], strict=True)
        ]
        for name in ("top_tuned", "top_base")
    }
    return table.assign(**{"piece": piece, "class": classes, "looping": looping, **likeliest})


def _contexts(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> Iterator[tuple[_Tokens, _Tokens]]:
    """What is needed to read each token of a text, in two parts.

    The tokens of the last whole characters, after which a space may have to be written, and the tokens since then,
    which have only begun a character: an emoji may take four.
    """
    told, begun = (), ()
    for token in tokens:
        yield told, begun
        begun += (token,)
        if not _unfinished(tokenizer, told, begun):
            told, begun = begun, ()


def _unfinished(tokenizer: PreTrainedTokenizerBase, told: _Tokens, begun: _Tokens) -> bool:
    """Whether the tokens end within a character, which has four bytes at most."""
    return len(begun) < 4 and _text(tokenizer, told + begun).endswith("\ufffd")


@lru_cache(maxsize=2**17)
def _piece(tokenizer: PreTrainedTokenizerBase, told: _Tokens, begun: _Tokens, token: int) -> str:
    """A token's text, with the space that some tokenizers write only between two tokens.

    The last token of a character that takes several has the whole character as its text, the others have none.

    Args:
        told, begun: from `_contexts`.
    """
    begun += (token,)
    if _unfinished(tokenizer, told, begun):
        return ""
    before, after = _text(tokenizer, told), _text(tokenizer, told + begun)
    return after[len(before) :] if after.startswith(before) else _text(tokenizer, begun)


@lru_cache(maxsize=2**17)
def _text(tokenizer: PreTrainedTokenizerBase, tokens: _Tokens) -> str:
    return tokenizer.decode(list(tokens))


def _token_class(piece: str) -> str:
    """One of `CLASSES`: a number has a digit, a content word a letter and is no connective, the rest is format."""
    word = piece.strip().lower()
    if re.search(r"\d", word):
        return "number"
    if word in _CONNECTIVES:
        return "logical connective"
    is_markup = word.startswith(("<", "[", "\\"))  # tags and LaTeX commands
    is_word = re.search(r"[^\W\d_]", word) and not is_markup
    return "content word" if is_word else "format"


def _looping(tokens: list[int]) -> np.ndarray:
    length = repeated_ending(tokens)
    return np.arange(len(tokens)) >= len(tokens) - (length if length >= _LOOP_TOKENS else 0)
