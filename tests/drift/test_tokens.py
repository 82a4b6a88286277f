"""Token drift against a plain loop over texts in float64, its pieces against the decoded text, its means by hand."""

import copy
import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from test_divergence import DIVERGENCES, SEQUENCES, Largest, gemma
from test_endings import by_brute_force
from tiny import qwen3
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mathtransfer.drift import completions, divergence, summaries, tokens
from mathtransfer.miniature import vocabulary
from mathtransfer.miniature.families import FAMILIES, distinct_problems
from mathtransfer.models import engines, prompting

PROMPTS = [
    "x = 3 ; y = x + 4 ; z = y - 1 ; print z",
    "say red blue green pink twice",
    "what is 3 + 4 - 5 + 6 ?",
    "what is 2 + 2 ?",
]
COMPLETIONS = ["steps : 3 + 4 = 7 . answer 6", "answer red blue green pink red blue green pink", "answer 8", ""]
ENDS = [True, False, True, False]  # the last completion is empty


@pytest.fixture(scope="module")
def sequences(base):
    def ids(text: str) -> list[int]:
        return base[1](text).input_ids if text else []

    ends = [[base[1].eos_token_id] * end for end in ENDS]
    return [(ids(p), ids(c) + end) for p, c, end in zip(PROMPTS, COMPLETIONS, ends, strict=True)]


@pytest.fixture(scope="module")
def tuned(base):
    torch.manual_seed(0)
    model = copy.deepcopy(base[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
    return model


def drift(tuned, base, sequences, **options) -> pd.DataFrame:
    return completions.token_drift(lambda: tuned, lambda: base, vocabulary.build_tokenizer(), sequences, **options)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found) == list(expected)
    for name in expected:
        one, other = (np.array(table[name].tolist()) for table in (found, expected))
        if one.dtype.kind in "if":
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_every_token_as_one_text_at_a_time_has_it(base, tuned, sequences):
    table = drift(tuned, base[0], sequences)
    rows = iter(table.to_dict("records"))
    for number, (prompt, completion) in enumerate(sequences):
        with torch.no_grad():
            outputs = [model(torch.tensor([prompt + completion])).logits[0].double() for model in (tuned, base[0])]
        for position, token in enumerate(completion):
            log_p, log_q = (logits[len(prompt) + position - 1].log_softmax(-1).numpy() for logits in outputs)
            row = next(rows)
            assert [row[name] for name in ("text", "position", "length", "token")] == [
                number, position, len(completion), token,
            ]  # fmt: skip
            assert row["kl"] == pytest.approx(stats.entropy(np.exp(log_p), np.exp(log_q)), abs=1e-5)
            assert row["kl_reverse"] == pytest.approx(stats.entropy(np.exp(log_q), np.exp(log_p)), abs=1e-5)
            assert row["log_ratio"] == pytest.approx(log_p[token] - log_q[token], abs=1e-4)
            assert row["rank_shift"] == (log_q > log_q[token]).sum() - (log_p > log_p[token]).sum()
    assert next(rows, None) is None
    assert (table["rank_shift"] != 0).any() and table["kl"].mean() > 1e-3


def test_batches_and_order_change_nothing(base, tuned, sequences):
    together = drift(tuned, base[0], sequences)
    assert_same(drift(tuned, base[0], sequences, batch_size=1), together)
    assert_same(drift(tuned, base[0], sequences, batch_size=2), together)
    backwards = drift(tuned, base[0], sequences[::-1])
    backwards["text"] = len(sequences) - 1 - backwards["text"]
    assert_same(backwards.sort_values(["text", "position"]), together)


@pytest.mark.parametrize(("together", "others"), [(True, [0, 1]), (False, [0, 0])])
def test_one_model_after_the_other_gives_the_same(base, tuned, sequences, together, others):
    """And holds one at a time: `others` are alive when a model is asked for."""
    given, alive = [], []

    def loads(model):
        def load():
            gc.collect()
            alive.append(sum(reference() is not None for reference in given))
            own = copy.deepcopy(model)
            given.append(weakref.ref(own))
            return own

        return load

    gc.freeze()  # what the libraries hold need not be looked through each time
    table = completions.token_drift(loads(tuned), loads(base[0]), base[1], sequences, together=together, batch_size=2)
    gc.unfreeze()
    assert alive == others
    assert_same(table, drift(tuned, base[0], sequences))


@pytest.mark.parametrize("together", [True, False])
def test_logits_of_all_tokens_are_never_held(monkeypatch, together):
    size, chunk = 3000, 20
    monkeypatch.setattr(divergence, "_CHUNK_LOGITS", chunk * size)
    model = qwen3(size)
    sequences = [([3, 4, 5], list(range(start, start + 30))) for start in range(10)]
    with Largest() as largest:
        drift(model, model, sequences, together=together)
    assert largest.elements == chunk * size  # of the 300 * size that there are


def test_a_model_has_no_drift_from_itself(base, sequences):
    table = drift(base[0], copy.deepcopy(base[0]), sequences)
    for name in (*DIVERGENCES, "log_ratio", "rank_shift"):
        assert table[name].abs().max() == 0


@pytest.mark.slow
def test_the_log_ratio_estimates_the_divergence_on_sampled_text_only(base, tuned):
    """Along a sampled text the log-ratio less the divergence sums to zero on average; greedy text is no sample."""
    model, tokenizer = base
    problems = [problem for name in FAMILIES for problem in distinct_problems(name, "validation", 100, seed=0)]
    prompts = prompting.encode(tokenizer, [problem.question for problem in problems])
    z = {}
    for decoding, temperature in engines.DECODINGS.items():
        engine = engines.Transformers(tuned, tokenizer, batch_size=240)
        completions = engine.complete(prompts, engines.Decoding(20, temperature), seed=1)
        sequences = [(prompt, completion.tokens) for prompt, completion in zip(prompts, completions, strict=True)]
        table = drift(tuned, model, sequences, batch_size=120)
        error = (table["log_ratio"] - table["kl"]).groupby(table["text"]).sum()
        z[decoding] = error.mean() / (error.std() / np.sqrt(len(error)))
    assert abs(z["sampled"]) < 3
    assert abs(z["greedy"]) > 4


def test_divergences_of_whole_responses_by_enumeration():
    """All responses of at most two tokens: KL(p || q) of their distributions, and that over their expected length."""
    tokenizer, prompt, size = vocabulary.build_tokenizer(), [5, 6, 7], 461
    models = [qwen3(size, initializer_range=scale) for scale in (0.5, 0.6)]
    first, second = [], []  # log-probabilities of the first token, and of the second after it
    for model in models:
        with torch.no_grad():
            after = model(torch.tensor([[*prompt, token] for token in range(size)])).logits.double().log_softmax(-1)
        first.append(after[0, -2].numpy())
        second.append(after[:, -1].numpy())
    going_on = np.arange(size) != tokenizer.eos_token_id
    for own, other in ((0, 1), (1, 0)):
        p = np.exp(first[own])
        at_second = (np.exp(second[own]) * (second[own] - second[other])).sum(1)
        whole = (p * (first[own] - first[other])).sum() + (p * going_on * at_second).sum()
        tokens_each = 1 + (p * going_on).sum()
        loads = [lambda number=number: models[number] for number in (own, other)]
        decoding = engines.Decoding(2, engines.DECODINGS["sampled"])
        sampled = completions.own_words(loads[0], tokenizer, [prompt] * 2000, decoding, batch_size=500, seed=1)
        table = completions.token_drift(*loads, tokenizer, sampled, batch_size=500).assign(group="training")
        a_token = summaries.summarise(table, ["group"], ("kl",)).iloc[0]
        a_response = summaries.summarise_responses(table, ["group"]).set_index("metric").loc["kl_response"]
        assert whole > 0.05 and a_response["stderr"] < 0.08 * whole
        assert abs(a_response["value"] - whole) < 4 * a_response["stderr"]
        assert abs(a_token["value"] - whole / tokens_each) < 4 * a_token["stderr"]
        assert (a_response["group"], a_response["n"], a_token["n"]) == ("training", 2000, 2000)


def test_given_words_are_read_and_not_compared(base):
    """What follows them is what the model writes after a prompt that ends in them."""
    model, tokenizer = base
    prompts, words = prompting.encode(tokenizer, PROMPTS), tuple(prompting.first_words(tokenizer, "steps :"))
    greedy = engines.Decoding(24, 0.0, begins=words)
    found = completions.own_words(lambda: model, tokenizer, prompts, greedy)
    longer = [[*prompt, *words] for prompt in prompts]
    alone = engines.Transformers(model, tokenizer).complete(longer, engines.Decoding(22))
    assert found == [(prompt, own.tokens) for prompt, own in zip(longer, alone, strict=True)]


def test_what_cannot_be_compared_is_refused(base, sequences):
    with pytest.raises(ValueError, match="no completion has a token"):
        drift(base[0], base[0], [([5, 6], []), ([7], [])])
    with pytest.raises(ValueError, match="no completion has a token"):
        drift(base[0], base[0], [])
    for completion in ([5], [5] * 40):  # the shortest and the longest of all
        for together in (True, False):
            with pytest.raises(ValueError, match="a prompt without a token"):
                drift(base[0], base[0], [*sequences, ([], completion)], together=together)
    larger = copy.deepcopy(base[0])
    larger.resize_token_embeddings(500)
    for together in (True, False):
        with pytest.raises(ValueError, match="the models have 500 and 461 outputs"):
            drift(larger, base[0], sequences, together=together)
        with pytest.raises(ValueError, match="by its output projection alone"):
            drift(gemma(2.0), gemma(2.0), SEQUENCES, together=together)


# --- what the tokens are


def subwords(metaspace: bool) -> PreTrainedTokenizerFast:
    """A small BPE: over bytes, as Qwen's and Llama 3's, or with words that begin with "▁", as Llama 2's."""
    if metaspace:
        tokenizer, steps, alphabet = Tokenizer(models.BPE(unk_token="<unk>")), "Metaspace", []
    else:
        tokenizer, steps, alphabet = Tokenizer(models.BPE()), "ByteLevel", pre_tokenizers.ByteLevel.alphabet()
    tokenizer.pre_tokenizer = getattr(pre_tokenizers, steps)(**({} if metaspace else {"add_prefix_space": False}))
    tokenizer.decoder = getattr(decoders, steps)()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<unk>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["so the café costs 12 euros , thus the sum ∑ is 24 . 日本 😀"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")


def described(tokenizer, completions: list[list[int]]) -> pd.DataFrame:
    """Completions as `token_drift` gives them, the observed token and token 5 said to be the likeliest."""
    lengths = [len(completion) for completion in completions]
    table = pd.DataFrame(
        {"text": np.repeat(np.arange(len(lengths)) + 3, lengths), "token": np.concatenate(completions)}
    )
    table["position"] = table.groupby("text").cumcount()
    top = [np.array([token, 5]) for token in table["token"]]
    return tokens.describe(table.assign(top_tuned=top, top_base=[pair[::-1] for pair in top]), tokenizer)


TOKENIZERS = {
    "words": vocabulary.build_tokenizer,
    "bytes": lambda: subwords(metaspace=False),
    "metaspace": lambda: subwords(metaspace=True),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_pieces_join_to_the_text(kind):
    tokenizer = TOKENIZERS[kind]()
    texts = ["so the café costs 12 . thus ∑ is 24", "日本 , 日本 : the café 😀 é €", "the sum is 3"]
    completions = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts]
    table = described(tokenizer, completions)
    assert ["".join(own) for _, own in table.groupby("text")["piece"]] == tokenizer.batch_decode(completions)
    for piece, tuned, base in zip(table["piece"], table["top_tuned"], table["top_base"], strict=True):
        assert piece == tuned[0] == base[1] and tuned[1] == base[0]  # the token reads alike wherever it is named


def test_a_character_of_several_tokens_is_the_last_ones():
    """Bytes that the vocabulary does not join, and some that make no character at all."""
    tokenizer = subwords(metaspace=False)
    unseen = tokenizer("a𝔸b").input_ids
    assert described(tokenizer, [unseen])["piece"].tolist() == ["a", "", "", "", "𝔸", "b"]
    broken = [unseen[0], *unseen[1:3], *tokenizer(" the é").input_ids]
    assert "".join(described(tokenizer, [broken])["piece"]) == tokenizer.decode(broken) == "a� the é"
    endless = [unseen[2]] * 9  # continuation bytes
    assert "".join(described(tokenizer, [endless])["piece"]) == "�" * 8


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (" therefore", "logical connective"),
        ("Thus", "logical connective"),
        (" 12", "number"),
        ("x2", "number"),
        (" theorem", "content word"),
        ("é", "content word"),
        ("日本", "content word"),
        (" +", "format"),
        ("\n\n", "format"),
        ("_", "format"),
        ("", "format"),
        (" \\frac", "format"),
        ("<think>", "format"),
        ("[INST", "format"),
    ],
)
def test_classes(piece, expected):
    assert tokens._token_class(piece) == expected


def test_special_tokens_are_format():
    tokenizer = vocabulary.build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["therefore"]})
    ids = tokenizer("red therefore 3").input_ids
    assert described(tokenizer, [ids])["class"].tolist() == ["content word", "format", "number"]


def test_looping_marks_repeats_of_24_tokens_or_more():
    completions = [
        [7, 8, *[5, 6, 9] * 9],
        [7, 8, *[5, 6, 9] * 7],  # 21 tokens
        [7, *[5] * 24],
        [7, *[5] * 23],
        [*[5, 6] * 20, 7],  # it got out of the loop
        [*range(10, 22)] * 2,  # twice is no loop
        [12, *range(10, 22), *range(10, 22), *range(10, 22)],
    ]
    table = described(vocabulary.build_tokenizer(), completions)
    for completion, (_, looping) in zip(completions, table.groupby("text")["looping"], strict=True):
        length = by_brute_force(completion, 3)
        start = len(completion) - (length if length >= 24 else 0)
        assert looping.tolist() == [i >= start for i in range(len(completion))]
    assert table.groupby("text")["looping"].sum().tolist() == [27, 0, 24, 0, 0, 0, 36]


# --- means


def test_standard_error_treats_a_text_as_one_observation():
    by_text = np.random.default_rng(0).normal(size=50)
    # Every text says the same thing twice: the error must be that of 50 observations, not of 100.
    table = pd.DataFrame({"text": np.repeat(range(50), 2), "kl": np.repeat(by_text, 2), "rank_shift": 0})
    row = summaries.summarise(table, [], ("kl",)).iloc[0]
    assert row["value"] == pytest.approx(by_text.mean())
    assert row["stderr"] == pytest.approx(by_text.std(ddof=1) / np.sqrt(50))
    assert (row["n"], row["tokens"]) == (50, 100)


def test_ratios_of_sums_by_hand():
    found = summaries.with_interval(np.array([[2.0, 4.0], [3.0, 2.0], [1.0, 2.0]]), np.array([4.0, 2.0, 2.0]))
    # The first: 6 / 8; residuals 2 - 3, 3 - 1.5, 1 - 1.5. The second is one for every token.
    np.testing.assert_allclose(found[:, 0], [0.75, 1.0])
    np.testing.assert_allclose(found[:, 1], [np.sqrt(3 / 2 * (1 + 2.25 + 0.25)) / 8, 0.0])
    # The resampled ratio is at most 3 / 2 and at least 2 / 4, with one chance in 27 each.
    np.testing.assert_allclose(found[:, 2:], [[0.5, 1.5], [1.0, 1.0]])


def test_interval_of_many_texts_is_normal():
    rng = np.random.default_rng(1)
    counts = rng.integers(5, 200, size=400).astype(float)
    sums = counts[:, None] * rng.gamma(2.0, size=(400, 3))
    value, stderr, low, high = summaries.with_interval(sums, counts).T
    np.testing.assert_allclose(low, value - 1.96 * stderr, atol=0.3 * stderr.max())
    np.testing.assert_allclose(high, value + 1.96 * stderr, atol=0.3 * stderr.max())


def test_one_text_has_no_error():
    table = pd.DataFrame({"text": 4, "kl": [1.0, 2.0], "rank_shift": [0, -3]})
    found = summaries.summarise(table, [], ("kl", "rank_shift", "shifted"))
    assert found["value"].tolist() == [1.5, 1.5, 50.0]
    assert found[["stderr", "low", "high"]].isna().all(axis=None)


def test_groups_are_summarised_apart():
    table = pd.DataFrame(
        {
            "group": ["math", "math", "math", "non", "non"],
            "text": [0, 0, 1, 2, 3],
            "kl": [1.0, 2.0, 6.0, 5.0, 7.0],
            "rank_shift": [0, -4, 2, 0, 0],
        }
    )
    found = summaries.summarise(table, ["group"], ("kl", "rank_shift", "shifted")).set_index(["group", "metric"])
    assert found["value"].to_dict() == pytest.approx(
        {
            ("math", "kl"): 3.0,
            ("math", "rank_shift"): 2.0,
            ("math", "shifted"): 200 / 3,
            ("non", "kl"): 6.0,
            ("non", "rank_shift"): 0.0,
            ("non", "shifted"): 0.0,
        }
    )
    assert found["n"].tolist() == [2] * 6 and found["tokens"].tolist() == [3] * 3 + [2] * 3
    alone = summaries.summarise(table[table["group"] == "math"], [], ("kl",)).iloc[0]
    assert found.loc[("math", "kl"), ["stderr", "low", "high"]].tolist() == alone[["stderr", "low", "high"]].tolist()


def test_published_kl_by_hand():
    table = pd.DataFrame(
        {"text": [0, 0, 0, 1, 1, 2], "position": [0, 1, 2, 0, 1, 0], "log_ratio": [9.0, -1.0, -3.0, 9.0, 1.0, 9.0]}
    )
    # Means of texts without their first token: -2 and 1; the last text has no other token.
    assert summaries.published_kl(table) == pytest.approx(0.5)


def shifted_text(number: int, length: int, shifted: list[int]) -> pd.DataFrame:
    shift = np.zeros(length, dtype=int)
    shift[shifted] = [-1, 5][number % 2]
    return pd.DataFrame({"text": number, "position": range(length), "length": length, "rank_shift": shift})


def test_shift_evenness_by_hand():
    table = pd.concat(
        [
            shifted_text(0, 20, [0, 1]),
            shifted_text(1, 9, [3, 4]),
            shifted_text(2, 10, [2, 3, 7]),
            shifted_text(3, 30, [0]),
        ]
    )
    # Two tokens in one of ten pairs; at random two of 20 lie in 10 (1 - C(18, 2) / C(20, 2)) tenths. Three single ones.
    expected = 10 * (1 - 18 * 17 / (20 * 19))
    assert summaries._shift_evenness(table).to_dict() == pytest.approx({0: 100 / expected, 2: 100.0})


def test_evenness_of_random_placement_is_a_hundred_whatever_the_length():
    rng = np.random.default_rng(0)
    for length, share in ((14, 0.3), (70, 0.1), (4000, 0.02)):
        shifted = [rng.random(length) < share for _ in range(300)]
        table = pd.concat([shifted_text(2 * i, length, np.flatnonzero(s)) for i, s in enumerate(shifted)])
        even = summaries._shift_evenness(table)
        assert even.mean() == pytest.approx(100, abs=4 * even.sem() + 0.5)
        # In the first half alone it is not.
        half = pd.concat([shifted_text(2 * i, length, np.flatnonzero(s[: length // 2])) for i, s in enumerate(shifted)])
        assert summaries._shift_evenness(half).mean() < even.mean() - 2


def test_a_response_adds_up_its_tokens():
    table = pd.DataFrame({"text": [0, 0, 1], "kl": [0.5, 0.25, 2.0]})
    assert summaries._response_kl(table).to_dict() == {0: 0.75, 1: 2.0}


def test_most_moved_by_hand():
    table = pd.DataFrame(
        {
            "text": [0, 0, 0, 0, 1, 1, 1],
            "position": [0, 1, 2, 3, 0, 1, 2],
            "piece": ["so", " x", "\n", " x", "x", " so", " y"],
            "class": ["logical connective", *["content word", "format"] * 2, "logical connective", "content word"],
            "kl": [1.0, 2.0, 0.5, 4.0, 1.0, 1.5, 90.0],
            "looping": [False] * 6 + [True],
        }
    )
    found = summaries.most_moved(table, n=2, around=1)
    assert found["piece"].tolist() == ["x", "so"]
    assert found["share"].tolist() == pytest.approx([70.0, 25.0])
    assert found["count"].tolist() == [3, 2] and found["kl"].tolist() == pytest.approx([7 / 3, 1.25])
    assert found["example"].tolist() == ["\n[ x]", "x[ so] y"]
