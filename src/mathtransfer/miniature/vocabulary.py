"""The word-level vocabulary of the miniature world as a Hugging Face fast tokenizer."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mathtransfer.miniature import facts
from mathtransfer.miniature.families import LARGEST

_PAD, _EOS, _UNKNOWN = "<pad>", "<eos>", "<unk>"
_TEMPLATE_WORDS = """
? . , : ; + - * / = mod what is the remainder box of divided by find if x has boxes and left how many are print mass
in a from go where you give or without took at to who colour usual does it take right would need they can true say this
do agree that false be backwards twice first word with comma between words last yes no answer steps let me think okay
see then gives wait check good so must
"""


def _words() -> list[str]:
    """Every word of the world in a fixed order: numbers first, then the templates' words, then names of things."""
    named = [
        *facts.NAMES, *facts.THINGS, *facts.PLACES, *facts.COLOURS, *facts.VARIABLES, *facts.DRUGS,
        *facts.SYMPTOMS, *facts.MASSES, *facts.DIRECTIONS, *facts.ANIMALS, *facts.UNITS,
    ]  # fmt: skip
    for relation, values in facts.RELATIONS.items():
        named += [*relation.split(), *values]
    for activity in facts.DURATIONS:
        named += activity.split()
    return list(dict.fromkeys([*map(str, range(LARGEST + 1)), *_TEMPLATE_WORDS.split(), *named]))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer: words split at spaces, one token a word; text decodes to the same words joined by spaces."""
    ids = {word: i for i, word in enumerate([_PAD, _EOS, _UNKNOWN, *_words()])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_EOS,
        unk_token=_UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )
