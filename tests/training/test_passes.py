"""An update's packed rows and its passes by length give what TRL's one pass over padded rows gives."""

from contextlib import nullcontext

import pytest
import torch
from test_objective import trainer_for
from trl import GRPOTrainer


def padded_batch(tokenizer, lengths: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Prompts (padded left) and random completions (padded right) of these lengths: ids, mask, completion width.

    Prompts of one length are the same.
    """
    before, after = (max(column) for column in zip(*lengths, strict=True))
    ids = torch.full((len(lengths), before + after), tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(lengths):
        own = slice(before - prompt, before + completion)
        tokens = torch.randint(3, len(tokenizer), (prompt + completion,))
        ids[row, own] = torch.cat([torch.arange(3, 3 + prompt), tokens[prompt:]])
        mask[row, own] = 1
    return ids, mask, after


UNLIKE = [(4, 9), (7, 1), (2, 30), (5, 12), (9, 12), (3, 2)]
SHORT_BUT_ONE = [(3, 30), *[(1, 2), (9, 1), (9, 5)] * 8]


@pytest.mark.parametrize(
    ("lengths", "share"), [(UNLIKE, 0.8), ([(4, 3)], 1), ([(2, 0), (3, 4)], 1), (SHORT_BUT_ONE, 0.3)]
)
@pytest.mark.parametrize("grad", [True, False])
def test_they_give_the_same_from_fewer_positions(lengths, share, grad, tmp_path):
    """`share` is the most that may be left of the positions of padded rows."""
    trainer = trainer_for("on-policy RL", tmp_path)
    model = trainer.model.double().eval()
    torch.manual_seed(0)
    ids, mask, width = padded_batch(trainer.processing_class, lengths)
    computed = []
    hook = lambda _, args, given: computed.append(given["input_ids"].numel())  # noqa: E731
    model.base_model.register_forward_pre_hook(hook, with_kwargs=True)
    found = {}
    for name, own in {"ours": type(trainer), "TRL's": GRPOTrainer}.items():
        model.zero_grad()
        with nullcontext() if grad else torch.no_grad():
            logps, entropies, _ = own._get_per_token_logps_and_entropies(
                trainer, model, ids, mask, width, compute_entropy=True
            )
        if grad:
            (logps * mask[:, -width:]).sum().backward()
        weights = model.base_model.layers[0].mlp.up_proj.weight
        found[name] = [logps * mask[:, -width:], entropies * mask[:, -width:], weights.grad]
    for ours, theirs in zip(*found.values(), strict=True):
        assert ours is theirs is None or torch.allclose(ours, theirs, atol=1e-5)  # TRL makes logits in float32
    assert sum(computed[:-1]) <= share * computed[-1] == share * ids.numel()
