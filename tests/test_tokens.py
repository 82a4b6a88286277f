"""Token drift against torch's own divergence, brute-force ranks and a plain loop over texts."""

import copy

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from mathtransfer import tokens
from mathtransfer.miniature import vocabulary


def test_kl_is_torchs_kl():
    torch.manual_seed(0)
    a, b = torch.randn(7, 50), torch.randn(7, 50)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=a.double()), torch.distributions.Categorical(logits=b.double())
    )
    torch.testing.assert_close(tokens.kl_divergence(a, b), expected)
    assert tokens.kl_divergence(a, a).abs().max() == 0


def test_ranks_by_sorting():
    torch.manual_seed(1)
    logits, chosen = torch.randn(20, 30), torch.randint(30, (20,))
    order = logits.argsort(-1, descending=True).tolist()
    expected = [row.index(token) for row, token in zip(order, chosen.tolist(), strict=True)]
    assert tokens.ranks(logits, chosen).tolist() == expected


@pytest.fixture
def tuned(base):
    torch.manual_seed(0)
    model = copy.deepcopy(base[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * parameter.std() * torch.randn_like(parameter))
    return model


def test_batches_agree_with_one_text_at_a_time(base, tuned):
    model, tokenizer = base
    prompts = ["what is 3 + 4 - 5 + 6 ?", "say red blue green pink twice", "x = 3 ; y = x + 4 ; z = y - 1 ; print z"]
    completions = ["answer 8", "answer red blue green pink red blue green pink", "steps : 3 + 4 = 7 . answer 6"]
    drift = tokens.token_drift(tuned, model, tokenizer, tokenizer, prompts, completions, batch_size=2)
    row = 0
    for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        start = len(tokenizer(prompt).input_ids)
        ids = [*tokenizer(f"{prompt} {completion}").input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            p, q = (m(torch.tensor([ids])).logits[0].double().log_softmax(-1) for m in (tuned, model))
        for position in range(start, len(ids)):
            expected = float((p[position - 1].exp() * (p[position - 1] - q[position - 1])).sum())
            found = drift.iloc[row]
            assert (found["text"], found["position"]) == (number, position - start)
            assert found["token"] == tokenizer.convert_ids_to_tokens(ids[position])
            assert found["kl"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
            row += 1
    assert row == len(drift)
    assert (drift["rank_shift"] == drift["rank_base"] - drift["rank_tuned"]).all()


def test_a_model_has_no_drift_from_itself(base):
    model, tokenizer = base
    drift = tokens.token_drift(model, model, tokenizer, tokenizer, ["what is 3 + 4 - 5 + 6 ?"], ["answer 8"])
    assert drift["kl"].abs().max() == 0 and drift["rank_shift"].abs().max() == 0


def test_standard_error_treats_a_text_as_one_observation():
    import pandas as pd

    rng = np.random.default_rng(0)
    by_text = rng.normal(size=50)
    # Every text says the same thing twice: the error must be that of 50 observations, not of 100.
    drift = pd.DataFrame(
        {"group": "math", "benchmark": "sums", "question": np.repeat(range(50), 2), "kl": np.repeat(by_text, 2)}
    ).assign(rank_shift=0)
    row = tokens.summarise(drift).query("metric == 'kl'").iloc[0]
    assert row["value"] == pytest.approx(by_text.mean())
    assert row["stderr"] == pytest.approx(by_text.std(ddof=1) / np.sqrt(50))


def test_another_vocabulary_is_refused(base):
    model, tokenizer = base
    other = vocabulary.build_tokenizer()
    other.add_tokens(["new"])
    assert isinstance(other, PreTrainedTokenizerFast)
    with pytest.raises(ValueError, match="different vocabularies"):
        tokens.token_drift(model, model, other, tokenizer, ["find x"], ["answer 1"])
    with pytest.raises(ValueError, match="one each is needed"):
        tokens.token_drift(model, model, tokenizer, tokenizer, ["find x"], [])
