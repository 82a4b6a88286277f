"""vLLM against transformers, token by token; transformers against lm-evaluation-harness; the suite `paper` by each."""

import gc
import importlib.util
import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import papermill, run
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from scipy import stats
from test_report import byte_level, save
from tiny import OWN_SETTINGS
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from mathtransfer import GROUPS
from mathtransfer.benchmarks import evaluate, questions
from mathtransfer.models import checkpoints, engines, prompting

EXAMPLES = questions.SUITES / "paper" / "examples"
GREEDY = engines.Decoding(96)
SAMPLED = engines.Decoding(24, temperature=1.0)
# How many completions must agree, how far log-probabilities of tokens may be apart (nats), and for which share of them.
# In bfloat16 the engines round hidden states in different places: if two tokens are nearly as likely, one completion
# in a hundred parts, and one token in a thousand is a little farther apart, on this processor; others differ somewhat.
TOLERANCES = {"float32": (0.99, 1e-3, 1.0), "bfloat16": (0.97, 0.05, 0.99)}
OPTIONS = {"enforce_eager": True, "kv_cache_memory_bytes": 2**26, "block_size": 32}

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(scope="module", params=TOLERANCES)
def both(request, tmp_path_factory):
    """Both engines with one checkpoint, and the tolerances of its type."""
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "base"
    shutil.copytree(checkpoints.resolve("miniature"), checkpoint)
    GenerationConfig(**OWN_SETTINGS, eos_token_id=1, pad_token_id=0).save_pretrained(checkpoint)
    plain, vllm = (
        engines.load_engine(name, str(checkpoint), dtype=request.param, options=options)
        for name, options in (("transformers", None), ("vllm", OPTIONS))
    )
    yield plain, vllm, TOLERANCES[request.param]
    vllm.llm.llm_engine.engine_core.shutdown()
    gc.collect()


only_float32 = pytest.mark.parametrize("both", ["float32"], indirect=True)


@pytest.fixture(scope="module")
def prompts(base) -> list[list[int]]:
    """Prompts of all twelve families."""
    table = questions.prompts("miniature", GROUPS, questions.Selection("validation", n=25))
    assert table["benchmark"].nunique() == 12
    return prompting.encode(base[1], list(table["prompt"]))


def tokens(completions) -> list[list[int]]:
    return [completion.tokens for completion in completions]


@needs_vllm
def test_greedy_completions_agree(both, prompts):
    """In every token, and those that do in the tokens' log-probabilities."""
    plain, vllm, (enough, tolerance, share) = both
    made = [engine.complete(prompts, GREEDY) for engine in (plain, vllm)]
    same = [(one, other) for one, other in zip(*made, strict=True) if one.tokens == other.tokens]
    assert all((one.text, one.finished) == (other.text, other.finished) for one, other in same)
    apart = np.concatenate([np.abs(np.subtract(one.logprobs, other.logprobs)) for one, other in same])
    print(
        f"{plain.model.dtype}: {len(same)} of {len(prompts)} completions agree; {np.mean(apart <= tolerance):.2%} of "
        f"{len(apart)} tokens within {tolerance} nats, {max(apart):.2g} at most"
    )
    assert len(same) >= enough * len(prompts)
    assert np.quantile(apart, share) <= tolerance


@needs_vllm
@only_float32
def test_completions_with_given_tokens_agree(both, prompts):
    plain, vllm, (enough, *_) = both
    begins = plain.tokenizer("let me think .").input_ids
    begun = engines.Decoding(96, begins=tuple(begins))
    made = [tokens(engine.complete(prompts[::3], begun)) for engine in (plain, vllm)]
    same = [one for one, other in zip(*made, strict=True) if one == other]
    assert len(same) >= enough * len(made[0])
    assert all(one[: len(begins)] == begins and len(one) <= 96 for one in made[1])


@needs_vllm
def test_loglikelihoods_agree(both, prompts):
    plain, vllm, (_, tolerance, _) = both
    made = plain.complete(prompts[::5], GREEDY)
    sequences = [(prompt, completion.tokens) for prompt, completion in zip(prompts[::5], made, strict=True)]
    allowed = tolerance * np.array([len(completion.tokens) for completion in made])
    found = [np.array(engine.loglikelihoods(sequences)) for engine in (plain, vllm)]
    assert (np.abs(found[0] - found[1]) <= allowed).all()
    assert (np.abs(found[1] - [sum(completion.logprobs) for completion in made]) <= allowed).all()


@needs_vllm
@only_float32
def test_options_reach_vllm_and_settings_of_the_checkpoint_do_not_matter(both, prompts):
    _, vllm, _ = both
    assert vllm.llm.llm_engine.vllm_config.cache_config.block_size == OPTIONS["block_size"]
    n = 2000
    first = first_probabilities(both[0].model, prompts[0])
    made = vllm.complete([prompts[0]] * n, engines.Decoding(1, temperature=1.0), seed=5)
    counts = np.bincount([completion.tokens[0] for completion in made], minlength=len(first))
    likely = n * first > 5
    expected = np.append(n * first[likely], n * first[~likely].sum())
    assert len(expected) > 2
    observed = np.append(counts[likely], counts[~likely].sum())
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def first_probabilities(model, prompt: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1).numpy()


@needs_vllm
@only_float32
def test_vllm_samples_the_same_whatever_else_is_in_the_batch(both, prompts):
    _, vllm, _ = both
    some = tokens(vllm.complete(prompts[:12], SAMPLED, seed=3))
    assert tokens(vllm.complete(prompts[:12], SAMPLED, seed=3)) == some
    assert tokens(vllm.complete(prompts[:200], SAMPLED, seed=3))[:12] == some
    assert tokens(vllm.complete(prompts[:12], SAMPLED, seed=4)) != some


def check_stop(engine, prompts, whole, stop: tuple[str, ...]) -> None:
    """Against whole texts, decoded token by token."""
    made = engine.complete(prompts, engines.Decoding(96, stop=stop))
    for short, long in zip(made, whole, strict=True):
        texts = [engine.tokenizer.decode(long.tokens[: n + 1]) for n in range(len(long.tokens))]
        n = next((n + 1 for n, text in enumerate(texts) if any(s in text for s in stop)), len(texts))
        first = min((long.text.find(s) for s in stop if s in long.text), default=None)
        assert (short.text, short.tokens) == (long.text[:first], long.tokens[:n])
        assert np.allclose(short.logprobs, long.logprobs[:n], atol=1e-3)
        assert short.finished == (first is not None or long.finished)


@needs_vllm
@only_float32
def test_a_stop_string_ends_a_text_of_vllms(both, prompts):
    """Words, parts of words and of several; one that comes where the text ends anyway; one that never comes."""
    plain, vllm, _ = both
    whole = plain.complete(prompts[::6], GREEDY)
    for stop in [("answer",), (". answ", "= 1"), ("er ",), ("zebra",)]:
        check_stop(vllm, prompts[::6], whole, stop)


@needs_vllm
@only_float32
def test_the_budget_cuts_and_a_cached_prefix_changes_nothing(both, prompts):
    """A long prompt twice, so that the second time its keys and values are there."""
    plain, vllm, (_, tolerance, _) = both
    long = [list(itertools.chain(*prompts[i::9]))[:length] for i, length in enumerate((100, 200, 250))]
    assert [len(prompt) for prompt in long] == [100, 200, 250] and vllm.budget == 256
    expected = plain.complete(long, GREEDY)
    assert len(expected[-1].tokens) <= 6
    for _ in range(2):
        for one, other in zip(expected, vllm.complete(long, GREEDY), strict=True):
            assert (one.tokens, one.text, one.finished) == (other.tokens, other.text, other.finished)
            assert np.allclose(one.logprobs, other.logprobs, atol=tolerance)
    (again,) = vllm.llm.generate([{"prompt_token_ids": long[1]}], use_tqdm=False)
    assert again.num_cached_tokens >= 6 * OPTIONS["block_size"]
    short = [completion.tokens[:5] for completion in plain.complete(prompts[:40], GREEDY)]
    for engine in (plain, vllm):
        made = engine.complete(prompts[:40], engines.Decoding(5))
        assert tokens(made) == short
        assert [completion.finished for completion in made] == [ids[-1] == 1 for ids in short]
        with pytest.raises(ValueError, match="prompt 1 has 256 tokens and the budget for prompt and completion is 256"):
            engine.loglikelihoods([([5], [6]), ([5] * 250, [6] * 6)])


@needs_vllm
@only_float32
def test_the_checkpoint_says_what_ends_a_text(both, prompts, monkeypatch):
    """If that is not the tokenizer's end, a text goes on behind it."""
    plain, vllm, _ = both
    word = plain.tokenizer.convert_tokens_to_ids("=")
    monkeypatch.setattr(plain.model.generation_config, "eos_token_id", [word])
    monkeypatch.setattr(vllm, "ends", [word])
    made = [tokens(engine.complete(prompts[::10], engines.Decoding(30))) for engine in (plain, vllm)]
    assert made[0] == made[1]
    assert any(1 in ids[:-1] for ids in made[0]) and any(ids[-1] == word for ids in made[0])


def test_what_vllm_cannot_do_is_refused_before_loading():
    with pytest.raises(ValueError, match="data_parallel_size is 2 and vLLM's offline class runs one replica"):
        engines.load_engine("vllm", "miniature", options={"data_parallel_size": 2})
    with pytest.raises(ValueError, match="engine_options cannot set dtype, max_model_len: use"):
        engines.load_engine("vllm", "miniature", options={"max_model_len": 9, "dtype": "half"})


# --- log-likelihoods against an independent library


@pytest.fixture(scope="module")
def unknowing(tmp_path_factory) -> str:
    """A checkpoint of the miniature's size with random weights: it reads any text, and a third of its tokens end it."""
    tokenizer = byte_level()
    config = Qwen3Config.from_pretrained(
        checkpoints.resolve("miniature"),
        vocab_size=len(tokenizer),
        max_position_embeddings=8192,
        initializer_range=0.2,
        eos_token_id=list(range(1, len(tokenizer), 3)),
        pad_token_id=None,
    )
    torch.manual_seed(0)
    return save(tmp_path_factory.mktemp("unknowing"), Qwen3ForCausalLM(config), tokenizer)


def test_a_stop_string_ends_a_text_of_transformers(unknowing):
    """With a tokenizer that joins and splits words."""
    engine = engines.load_engine("transformers", unknowing, dtype="float32")
    prompts = prompting.encode(engine.tokenizer, [f"the sum of {i}" for i in range(60)])
    whole = engine.complete(prompts, GREEDY)
    longest = max((completion.text for completion in whole if completion.text.isascii()), key=len)
    for stop in [(longest[1:3],), (longest[3:4], longest[1:5]), ("zebra",)]:
        check_stop(engine, prompts, whole, stop)


def test_loglikelihoods_are_those_of_the_harness(unknowing):
    """On pairs whose tokens join where one text ends and the other begins, and where blanks do."""
    engine = engines.load_engine("transformers", unknowing, dtype="float32")
    contexts = ["the sum of 12 and", "so the sum ", "we know th", "is 15 , thus  "]
    continuations = [" 3", "of 12 and 3 is 15", "us we know .", " so\n"]
    pairs = list(itertools.product(contexts, continuations))
    own = [
        evaluate._split(
            engine.tokenizer, questions.Request(0, 0, one, prompting.encode(engine.tokenizer, [one])[0], None), other
        )
        for one, other in pairs
    ]
    harness = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=3)
    expected = harness.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    assert engine.loglikelihoods(own) == pytest.approx([value for value, _ in expected], abs=1e-4)
    assert len({len(ids) for _, ids in own}) > 2


# --- the suite `paper`, from notebook to scores


@pytest.fixture(scope="module")
def longer_base(tmp_path_factory) -> str:
    """The shipped base, allowed to read more than the 256 tokens it was trained on, as the paper's prompts have."""
    folder = tmp_path_factory.mktemp("longer") / "base"
    shutil.copytree(checkpoints.resolve("miniature"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1200}))
    return str(folder)


def evaluated(model: str, engine: str, out, **parameters):
    """The notebook's tables: scores and samples."""
    values = {"model": model, "base": model, "suite": "paper", "n": 1, "data_root": EXAMPLES, "engine": engine}
    values |= {"dtype": "float32", "budget": 1200, "out": out} | parameters
    done = run(papermill("runs/evaluate", out.with_suffix(".ipynb"), **values))
    assert done.returncode == 0, done.stderr[-4000:]
    return pd.read_csv(out / "scores.csv"), pd.read_parquet(out / "samples.parquet")


@pytest.fixture(scope="module")
def by_transformers(longer_base, tmp_path_factory):
    return evaluated(longer_base, "transformers", tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.slow
def test_the_suite_paper_runs_whole(by_transformers):
    """Everything but model-written code."""
    scores, samples = by_transformers
    assert scores["benchmark"].nunique() == 11 and set(scores["group"]) == set(GROUPS)
    assert scores["value"].between(0, 100).all()
    assert samples["finished"].mean() > 0.5 and (samples["tokens"].map(len) > 2).mean() > 0.2


@needs_vllm
@pytest.mark.slow
def test_the_suite_paper_is_answered_alike_by_both(by_transformers, longer_base, tmp_path):
    """Greedy completions agree in every token."""
    scores, samples = evaluated(longer_base, "vllm", tmp_path / "run", engine_options=OPTIONS)
    columns = ["task", "question", "sample"]
    both = samples.merge(by_transformers[1], on=columns, suffixes=("", "_plain"), validate="1:1")
    assert len(both) == len(samples) == len(by_transformers[1])
    assert set(scores["benchmark"]) == set(by_transformers[0]["benchmark"])
    greedy = both[both.groupby("task")["sample"].transform("max") == 0]
    assert greedy["benchmark"].nunique() == 7
    for _, row in greedy.iterrows():
        assert row["completion"] == row["completion_plain"] and row["finished"] == row["finished_plain"]
        assert list(row["tokens"]) == list(row["tokens_plain"])
        assert np.allclose(row["logprobs"], row["logprobs_plain"], atol=0.01)
