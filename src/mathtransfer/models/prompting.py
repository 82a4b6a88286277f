"""Prompts as token ids, in a chat template or plain, and what they leave of a budget for a completion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ChatFormat:
    """How a prompt is put to a model: `chat` and `think` as `chat_renderer` takes them, `system` is a system prompt."""

    chat: bool | str = False
    think: bool | None = None
    system: str = ""


def encode(tokenizer: PreTrainedTokenizerBase, prompts: list[str], chat: bool = False) -> list[list[int]]:
    """Token ids of prompts, each as a user's turn in the model's own chat template if `chat`.

    A prompt that begins with the beginning-of-text token does not get another.

    Raises:
        ValueError: there is no prompt, one is empty, or the tokenizer has no chat template.
    """
    if not prompts:
        raise ValueError("no prompts: give at least one")
    if empty := [number for number, prompt in enumerate(prompts) if not prompt.strip()]:
        raise ValueError(f"prompt {empty[0]} is empty ({len(empty)} of {len(prompts)} are): leave empty prompts out")
    begins = tokenizer.bos_token or ""
    return [
        tokenizer(
            prompt,
            add_special_tokens=not (begins and prompt.startswith(begins)),
            verbose=False,  # `check_prompts` tells of prompts that are too long
        ).input_ids
        for prompt in render(tokenizer, prompts, ChatFormat(chat))
    ]


def first_words(tokenizer: PreTrainedTokenizerBase, words: str) -> list[int]:
    """Token ids of words that an answer is to begin with, as they follow a prompt.

    Raises:
        ValueError: the tokenizer does not know a part of them.
    """
    ids = tokenizer(words, add_special_tokens=False).input_ids
    if tokenizer.unk_token_id in ids:
        raise ValueError(f"the model has no token for a part of {words!r}: give other first words")
    return ids


def render(tokenizer: PreTrainedTokenizerBase, prompts: list[str], chat_format: ChatFormat) -> list[str]:
    """The texts that are sent to a model: prompts as users' turns in a chat template, or as they are.

    Raises:
        FileNotFoundError, ValueError: see `chat_renderer`.
    """
    if not chat_format.chat:
        return prompts
    rendered = chat_renderer(tokenizer, chat_format.chat, chat_format.think)
    system = [{"role": "system", "content": chat_format.system}] if chat_format.system else []
    return [rendered([*system, {"role": "user", "content": prompt}]) for prompt in prompts]


def chat_renderer(
    tokenizer: PreTrainedTokenizerBase, chat: bool | str, think: bool | None = None
) -> Callable[..., str]:
    """A function from messages to the text that is sent to the model.

    A beginning-of-text token that the template writes is left out if the tokenizer puts one before every text itself:
    whoever makes tokens of the text, as TRL and lm-evaluation-harness do too, would get two.

    Args:
        chat: True for the tokenizer's own chat template, or the path of a file with another one (Jinja).
        think: what the template is told as `enable_thinking`; None tells it nothing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the tokenizer has no chat template, or it knows no `enable_thinking`.
    """
    template = tokenizer.chat_template if chat is True else Path(chat).read_text(encoding="utf-8")
    if not template:
        raise ValueError("the tokenizer has no chat template: set chat to False, or to the path of a template")
    if think is not None and "enable_thinking" not in str(template):
        raise ValueError("the chat template cannot switch thinking on or off: set think to None")
    switch = {} if think is None else {"enable_thinking": think}
    begins = tokenizer.bos_token if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id] else ""

    def rendered(messages: list[dict], add_generation_prompt: bool = True) -> str:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **switch,
        )
        return text.removeprefix(begins)

    return rendered


def completion_limits(prompts: list[list[int]], max_tokens: int, budget: int) -> list[int]:
    """How many tokens each completion may have.

    Raises:
        ValueError: a prompt fills the budget.
    """
    check_prompts(prompts, budget)
    return [min(max_tokens, budget - len(prompt)) for prompt in prompts]


def check_prompts(prompts: list[list[int]], budget: int) -> None:
    """Refuse prompts, given as token ids, that leave no token of the budget for a completion.

    Raises:
        ValueError: a prompt fills the budget.
    """
    if full := [number for number, prompt in enumerate(prompts) if len(prompt) >= budget]:
        raise ValueError(
            f"prompt {full[0]} has {len(prompts[full[0]])} tokens and the budget for prompt and completion is {budget} "
            f"({len(full)} prompts are too long): give a larger budget"
        )
