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

    A prompt that begins with the beginning-of-text token, as one from a chat template may, does not get another.

    Raises:
        ValueError: there is no prompt, one is empty, or the tokenizer has no chat template.
    """
    if not prompts:
        raise ValueError("no prompts: give at least one")
    if empty := [number for number, prompt in enumerate(prompts) if not prompt.strip()]:
        raise ValueError(f"prompt {empty[0]} is empty ({len(empty)} of {len(prompts)} are): leave empty prompts out")
    if not chat:
        begins = tokenizer.bos_token or ""
        return [
            tokenizer(
                prompt,
                add_special_tokens=not (begins and prompt.startswith(begins)),
                verbose=False,  # `completion_limits` tells of prompts that are too long
            ).input_ids
            for prompt in prompts
        ]
    render = chat_renderer(tokenizer, True)
    return [
        tokenizer(render([{"role": "user", "content": prompt}]), add_special_tokens=False).input_ids
        for prompt in prompts
    ]


def chat_renderer(
    tokenizer: PreTrainedTokenizerBase, chat: bool | str, think: bool | None = None
) -> Callable[..., str]:
    """A function from messages to the text that is sent to the model.

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

    def render(messages: list[dict], add_generation_prompt: bool = True) -> str:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **switch,
        )

    return render


def completion_limits(prompts: list[list[int]], max_tokens: int, budget: int) -> list[int]:
    """How many tokens each completion may have.

    Raises:
        ValueError: a prompt fills the budget.
    """
    if full := [number for number, prompt in enumerate(prompts) if len(prompt) >= budget]:
        raise ValueError(
            f"prompt {full[0]} has {len(prompts[full[0]])} tokens and the budget for prompt and completion is {budget} "
            f"({len(full)} prompts are too long): give a larger budget"
        )
    return [min(max_tokens, budget - len(prompt)) for prompt in prompts]
