"""Completions against loops over a model's own probabilities."""

import copy
import math
import sys

import numpy as np
import pytest
import torch
from scipy import stats
from tiny import OWN_SETTINGS, qwen3
from transformers import GenerationConfig

from mathtransfer.miniature import vocabulary
from mathtransfer.models import checkpoints, engines, prompting

PROMPTS = [
    "what is 3 + 4 - 5 + 6 ?",
    "say red blue green pink twice",
    "x = 3 ; y = x + 4 ; z = y - 1 ; print z",
    "what is 9 - 4 ?",
]


@pytest.fixture
def model(base):
    """The miniature base with generation settings that must not matter."""
    model = copy.copy(base[0])
    model.generation_config = GenerationConfig(**OWN_SETTINGS, eos_token_id=1, pad_token_id=0)
    return model


@pytest.fixture
def prompts(base):
    return prompting.encode(base[1], PROMPTS)


def complete(model, tokenizer, prompts, decoding: str, max_tokens: int, seed: int = 0, batch_size: int = 64):
    engine = engines.Transformers(model, tokenizer, batch_size, budget=256)
    settings = engines.Decoding(max_tokens, engines.DECODINGS[decoding])
    return [completion.tokens for completion in engine.complete(prompts, settings, seed)]


def argmax_loop(model, prompt: list[int], end: int, max_tokens: int) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + max_tokens:
            ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] == end:
                break
    return ids[len(prompt) :]


@pytest.mark.parametrize("pad", ["<pad>", "<eos>"])
@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_greedy_takes_the_likeliest_token(model, prompts, batch_size, pad):
    """Whatever is batched with a prompt, with no penalty for repeating its words, and where the end pads as well."""
    tokenizer, settings = vocabulary.build_tokenizer(), model.generation_config
    tokenizer.pad_token = pad
    made = complete(model, tokenizer, prompts, "greedy", 20, batch_size=batch_size)
    assert made == [argmax_loop(model, prompt, 1, 20) for prompt in prompts]
    assert {completion[-1] == 1 for completion in made} == {True, False}  # with its end, or cut off
    assert model.generation_config is settings


def test_sampling_repeats_by_seed(base, model, prompts):
    def sample(seed: int) -> list[list[int]]:
        return complete(model, base[1], prompts * 5, "sampled", 12, seed=seed, batch_size=8)

    assert sample(0) == sample(0) != sample(1)


def test_sampling_has_the_models_own_distribution(base):
    """First and second tokens come as often as at temperature 1 with nothing cut off: 80 tokens, all likely."""
    model = qwen3(80, initializer_range=0.2)
    model.generation_config = GenerationConfig(**OWN_SETTINGS)
    prompt, end, n = [5, 6, 7, 8], 1, 10000
    with torch.no_grad():
        first = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
        second = model(torch.tensor([[*prompt, token] for token in range(80)])).logits[:, -1].double().softmax(-1)
    ended, first[end] = float(first[end]), 0  # of those there is no second token
    expected = n * np.array([[*first, ended], [*(first @ second), ended]])
    possible = expected > 0
    assert expected[possible].min() > 5
    made = complete(model, base[1], [prompt] * n, "sampled", 2, seed=3, batch_size=n // 2)
    counts = np.zeros((2, 81))
    for completion in made:
        counts[[0, 1], [80, 80] if completion == [end] else completion] += 1
    assert counts[~possible].sum() == 0
    for row, fits, allowed in zip(counts, expected, possible, strict=True):
        assert stats.chisquare(row[allowed], fits[allowed]).pvalue > 1e-3


def test_any_of_several_ends_ends(base, model, prompts):
    whole = complete(model, base[1], prompts, "greedy", 12)
    ends = [1, whole[0][1]]
    model.generation_config.eos_token_id = ends
    made = complete(model, base[1], prompts, "greedy", 12)
    for long, short in zip(whole, made, strict=True):
        stop = min((i + 1 for i, token in enumerate(long) if token in ends), default=12)
        assert short == long[:stop]
    assert len(made[0]) == 2 < len(whole[0])


def test_a_checkpoint_without_an_end_takes_the_tokenizers(base, model, prompts):
    expected = complete(model, base[1], prompts, "greedy", 12)
    model.generation_config.eos_token_id = None
    assert complete(model, base[1], prompts, "greedy", 12) == expected


def test_a_chat_template_is_applied_on_request():
    tokenizer = vocabulary.build_tokenizer()
    with pytest.raises(ValueError, match="no chat template: set chat to False"):
        prompting.encode(tokenizer, PROMPTS, chat=True)
    tokenizer.chat_template = (
        "{% for message in messages %}say {{ message['content'] }} . {% endfor %}"
        "{% if add_generation_prompt %}answer{% endif %}"
    )
    expected = [tokenizer(f"say {prompt} . answer").input_ids for prompt in PROMPTS]
    assert prompting.encode(tokenizer, PROMPTS, chat=True) == expected
    assert prompting.encode(tokenizer, PROMPTS) == [tokenizer(prompt).input_ids for prompt in PROMPTS]


def test_bad_requests_are_refused(base):
    model, tokenizer = base
    with pytest.raises(ValueError, match="no prompts: give at least one"):
        prompting.encode(tokenizer, [])
    with pytest.raises(ValueError, match=r"prompt 1 is empty \(2 of 3 are\)"):
        prompting.encode(tokenizer, ["find x", " \n", ""])
    with pytest.raises(ValueError, match="unknown engine 'tgi': expected transformers or vllm"):
        engines.load_engine("tgi", "miniature")
    with pytest.raises(ValueError, match=r"engine_options \(seed\) are vLLM's"):
        engines.load_engine("transformers", "miniature", options={"seed": 1})
    with pytest.raises(ValueError, match="a budget of 4096 tokens is larger than the 256 that miniature can read"):
        engines.load_engine("transformers", "miniature", budget=4096)
    with pytest.raises(ValueError, match="prompt 1 has 9 tokens and the budget for prompt and completion is 8"):
        engines.Transformers(model, tokenizer, budget=8).complete([[5], [5] * 9], engines.Decoding(4))


def test_a_missing_vllm_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match=r"needs vLLM: install the extra .* or run `make vllm-cpu`"):
        engines.load_engine("vllm", "miniature")


def test_vllm_loads_the_revision_that_was_asked_for(monkeypatch):
    asked, folder = set(), checkpoints.resolve("miniature")
    monkeypatch.setattr(checkpoints, "resolve", lambda *which: asked.add(which) or folder)
    monkeypatch.setitem(sys.modules, "vllm", None)  # nothing is loaded
    with pytest.raises(ModuleNotFoundError):
        engines.load_engine("vllm", "owner/name", revision="abc")
    assert asked == {("owner/name", "abc")}


def test_finished_chunks_are_not_made_again(tmp_path):
    """Interrupted in the third of four chunks, while it was written too."""
    items, made = [[number] for number in range(10)], []

    def work(chunk, start):
        if start == 6 and len(made) < 3:
            raise KeyboardInterrupt
        made.append(start)
        return [engines.Completion(item, [-0.5], f"number {item[0]}", start < 9) for item in chunk]

    with pytest.raises(KeyboardInterrupt):
        engines.in_chunks(items, work, tmp_path, "numbers", size=3)
    (tmp_path / "000006.partial").write_bytes(b"half")
    made.append("interrupted")
    found = engines.in_chunks(items, work, tmp_path, "numbers", size=3)
    assert made == [0, 3, "interrupted", 6, 9]
    assert found == [engines.Completion([n], [-0.5], f"number {n}", n < 9) for n in range(10)]


def test_chosen_tokens_log_probabilities(base, prompts):
    """Sampled at another temperature or greedy, they are those of the model's own distribution."""
    model, tokenizer = base
    for decoding in (engines.Decoding(12), engines.Decoding(12, 0.6, 0.95)):
        for prompt, found in zip(
            prompts, engines.Transformers(model, tokenizer).complete(prompts, decoding), strict=True
        ):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + found.tokens])).logits[0].double()
            expected = logits.log_softmax(-1)[range(len(prompt) - 1, len(prompt) + len(found.tokens) - 1), found.tokens]
            assert found.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
            assert found.finished == (found.tokens[-1] == 1)


@pytest.mark.parametrize("given", [1, 3])
def test_given_tokens_begin_a_completion(base, prompts, given):
    """They count towards its limit and have no log-probability; a loop over likeliest tokens gives the rest."""
    model, tokenizer = base
    begins = tuple(tokenizer("steps : 3").input_ids[:given])
    made = engines.Transformers(model, tokenizer, 3).complete(prompts, engines.Decoding(9, begins=begins))
    for prompt, found in zip(prompts, made, strict=True):
        rest = argmax_loop(model, [*prompt, *begins], 1, 9 - given)
        assert found.tokens == [*begins, *rest]
        assert found.text == tokenizer.decode(found.tokens, skip_special_tokens=True)
        assert [math.isnan(value) for value in found.logprobs] == [True] * given + [False] * len(rest)
        assert found.finished == (rest[-1] == 1)


def test_a_models_own_first_tokens_given_to_it_change_nothing(base, prompts):
    """One prompt at a time, since each has first tokens of its own."""
    engine = engines.Transformers(*base)
    natural = engine.complete(prompts, engines.Decoding(24))
    for prompt, own in zip(prompts, natural, strict=True):
        for given in range(1, min(4, len(own.tokens))):
            begun = engines.Decoding(24, begins=tuple(own.tokens[:given]))
            (found,) = engine.complete([prompt], begun)
            assert (found.tokens, found.text, found.finished) == (own.tokens, own.text, own.finished)
            assert found.logprobs[given:] == pytest.approx(own.logprobs[given:], abs=1e-4)


def test_given_tokens_leave_room_for_an_answer(base, prompts):
    engine = engines.Transformers(*base)
    with pytest.raises(ValueError, match="completions have 2 tokens at most, and 2 are given"):
        engine.complete(prompts, engines.Decoding(2, begins=(5, 6)))
    with pytest.raises(ValueError, match="prompt 0 has 9 tokens and the budget for prompt and completion is 9"):
        engines.Transformers(*base, budget=9).complete([[5] * 7], engines.Decoding(4, begins=(5, 6)))


def test_logits_are_not_rounded_to_half_precision(base, prompts):
    """The engine's log-probabilities are those of float64 products of the model's own bfloat16 hidden states."""
    model = copy.deepcopy(base[0]).bfloat16()
    weight = model.get_output_embeddings().weight.double()
    (found,) = engines.Transformers(model, base[1]).complete(prompts[:1], engines.Decoding(12))
    ids = prompts[0] + found.tokens
    with torch.no_grad():
        alone, whole = (model.base_model(torch.tensor([own])).last_hidden_state[0] for own in (prompts[0], ids))
    last, logits = alone[-1].double() @ weight.T, whole.double() @ weight.T
    expected = logits.log_softmax(-1)[range(len(prompts[0]) - 1, len(ids) - 1), found.tokens]
    first = float(last.log_softmax(-1)[found.tokens[0]])
    assert found.logprobs[0] == pytest.approx(first, abs=1e-6)
    # The later ones come from cached states, which are rounded in another order.
    assert found.logprobs == pytest.approx(expected.tolist(), abs=0.1)
    assert abs(float(last.bfloat16().double().log_softmax(-1)[found.tokens[0]]) - first) > 1e-5


def test_stop_strings_end_a_completion(base, prompts):
    """The text is cut before the string; the tokens end with the one that completes it."""
    engine, tokenizer = engines.Transformers(*base), base[1]
    whole = engine.complete(prompts, engines.Decoding(12))
    stop = max(whole, key=lambda completion: len(completion.tokens)).text.split()[2]
    for long, short in zip(whole, engine.complete(prompts, engines.Decoding(12, stop=(stop, "never"))), strict=True):
        before, found, _ = long.text.partition(stop)
        assert short.text == (before if found else long.text) and short.finished == (long.finished or bool(found))
        assert long.tokens[: len(short.tokens)] == short.tokens
        if found:
            assert stop in tokenizer.decode(short.tokens) and stop not in tokenizer.decode(short.tokens[:-1])


def test_a_budget_holds_for_prompt_and_completion(base, prompts):
    budget = max(map(len, prompts)) + 2
    found = engines.Transformers(*base, budget=budget).complete(prompts, engines.Decoding(12))
    whole = engines.Transformers(*base).complete(prompts, engines.Decoding(12))
    for prompt, short, long in zip(prompts, found, whole, strict=True):
        assert short.tokens == long.tokens[: budget - len(prompt)]


def test_thinking_is_switched_in_the_template():
    tokenizer = vocabulary.build_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if not enable_thinking %} no{% endif %} thought"
    for think, expected in {True: "why thought", False: "why no thought", None: "why no thought"}.items():
        assert prompting.chat_renderer(tokenizer, True, think)([{"role": "user", "content": "why"}]) == expected
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(ValueError, match="cannot switch thinking on or off: set think to None"):
        prompting.chat_renderer(tokenizer, True, False)
