"""Every setting's gradient is that of the paper's Equation 3, computed here from the formula alone."""

import shutil
from pathlib import Path

import pytest
import torch

from mathtransfer.miniature import traces
from mathtransfer.models import checkpoints
from mathtransfer.training import objective, post_training, problems
from mathtransfer.training.settings import SETTINGS

GROUP = 4
RECIPE = {
    "model": "miniature",
    "seed": 0,
    "batch_size": 8 * GROUP,  # a base that mostly errs shall be right at least once
    "group_size": GROUP,
    "learning_rate": 1e-3,
    "max_completion": 128,
    "label": "",
    "teacher": "",
    "teacher_errs": 0.0,
    "begins": "",
    "save_every": 1,
    "prompt": {},
    "trainer": {},
    "lora": {},
}


def correct(response: str, answer: str, thinks: bool = False) -> bool:
    return response.endswith(f"answer {answer}")


def trainer_for(setting: str, folder: Path, teach: bool = True, **changes) -> objective.ObjectiveTrainer:
    found = problems.read_problems("miniature", 10)
    # A teacher that errs, so that rejection and advantage have something to weigh.
    recipe = RECIPE | {"setting": setting, "steps": 1, "teacher_errs": 0.4} | changes
    tokenizer = post_training.load_tokenizer(recipe)
    rows, writer = post_training.training_rows(recipe, found, tokenizer)
    teacher = post_training.load_teacher(recipe, writer) if teach else None
    return post_training.build_trainer(recipe, tokenizer, rows, teacher, correct, folder)


def equation_3(model, reference, batch: dict, weights: list[float], kl: float) -> torch.Tensor:
    """- sum w log pi / tokens + beta sum s (exp(r) - r - 1) / tokens, one sequence at a time without padding.

    s is pi over the policy that sampled, so 1, but not its gradient.
    """
    total, tokens = torch.zeros(()), 0
    for row, weight in enumerate(weights):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        response = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        ids = torch.cat([prompt, response])[None]
        logs = [
            m(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1).gather(-1, response[:, None]).squeeze(-1)
            for m in (model, reference)
        ]
        ratio = logs[1].detach() - logs[0]
        sampled = (logs[0] - logs[0].detach()).exp()
        total = total - weight * logs[0].sum() + kl * (sampled * (ratio.exp() - ratio - 1)).sum()
        tokens += len(response)
    return total / tokens


@pytest.mark.parametrize("setting, begins", [*((name, "") for name in SETTINGS), ("on-policy SFT", "let me think .")])
def test_gradient_is_that_of_equation_3(setting, begins, tmp_path):
    row = SETTINGS[setting]
    trainer = trainer_for(setting, tmp_path, begins=begins)
    model = trainer.model.train().double()  # so that what is left of a difference is no rounding
    if trainer.ref_model is not None:
        trainer.ref_model.double()
    torch.manual_seed(0)
    with torch.no_grad():  # away from the reference, or the KL term would have no gradient
        for parameter in model.parameters():
            parameter.add_(0.02 * parameter.std() * torch.randn_like(parameter))
    trainer.create_optimizer_and_scheduler(1)
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    model.zero_grad()
    trainer.compute_loss(model, batch).backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])

    by_prompt = {p.question: p.answer for _, p in traces.mathematics(10, seed=0)}
    tokenizer = trainer.processing_class
    prompts, responses = (
        tokenizer.batch_decode(batch[name], skip_special_tokens=True) for name in ("prompt_ids", "completion_ids")
    )
    rewards = [float(correct(r, by_prompt[p])) for p, r in zip(prompts, responses, strict=True)]
    assert 0 < sum(rewards) < len(rewards)
    assert all(response.startswith(begins) for response in responses) and len(set(responses)) > 4
    weights = {"one": [1.0] * len(rewards), "rejection": rewards}.get(row.weight)
    if weights is None:
        groups = {p: torch.tensor([r for q, r in zip(prompts, rewards, strict=True) if q == p]) for p in set(prompts)}
        assert all(len(group) == GROUP for group in groups.values())
        weights = [
            float((r - groups[p].mean()) / (groups[p].std() + 1e-4)) for p, r in zip(prompts, rewards, strict=True)
        ]
        if row.weight == "positive advantage":
            weights = [max(weight, 0.0) for weight in weights]
    reference = checkpoints.load_model("miniature").double()

    def distance(kl: float) -> float:
        """Norm of the difference from the formula's gradient, relative to that gradient's norm."""
        model.zero_grad()
        equation_3(model, reference, batch, weights, kl).backward()
        expected = torch.cat([p.grad.flatten() for p in model.parameters()])
        return float((found - expected).norm() / expected.norm())

    assert distance(row.kl) < 1e-4
    assert row.kl == 0 or distance(0.0) > 1e-3  # the KL term is not too small to be seen


def test_a_model_as_teacher_answers_as_it_is_and_not_as_the_policy_is_by_now(tmp_path):
    """Its answers to an update's prompts are drawn from it alone: the same whatever became of the policy."""
    made = []
    for shift in (0.0, 0.1):
        trainer = trainer_for("off-policy SFT, rejection", tmp_path, teacher="miniature", teacher_errs=0.0)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.add_(shift * torch.randn_like(parameter))
        made.append(trainer._prepare_inputs(next(iter(trainer.get_train_dataloader()))))
    assert torch.equal(made[0]["completion_ids"], made[1]["completion_ids"])
    texts = trainer.processing_class.batch_decode(made[0]["completion_ids"], skip_special_tokens=True)
    assert len(set(texts)) > 4  # sampled, also for the same prompt


def test_only_the_miniatures_teacher_errs_on_request(tmp_path):
    with pytest.raises(ValueError, match="teacher_errs is for the miniature's teacher"):
        trainer_for("off-policy SFT", tmp_path, teacher="miniature", teacher_errs=0.5)


@pytest.mark.parametrize(
    "setting, begins, complaint",
    [("off-policy SFT", "let me think .", "is for the policy's"), ("on-policy SFT", "well ,", "no token for a part")],
)
def test_responses_that_cannot_begin_as_asked_are_refused(setting, begins, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        trainer_for(setting, tmp_path, begins=begins)


def test_a_reward_knows_whether_the_prompt_opens_the_thinking(tmp_path):
    found = problems.read_problems("miniature", 4)
    tokenizer = post_training.load_tokenizer(RECIPE)
    rows, _ = problems.training_rows(found, tokenizer, {}, 80)
    recipe = RECIPE | {"setting": "on-policy RL", "steps": 1}
    trainer = post_training.build_trainer(recipe, tokenizer, rows, None, lambda *given: given[2], tmp_path)
    (reward,) = trainer.reward_funcs
    assert reward(prompts=["why <think>\n", "why <think> </think>"], completions=["a", "b"], answer=["a", "b"]) == [
        1,
        0,
    ]


def test_every_setting_is_a_row_of_its_own():
    """The paper's six (Table 4), and one of ours."""
    assert len(set(SETTINGS.values())) == len(SETTINGS) == 7


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["on-policy RL", "off-policy SFT"])
def test_a_resumed_run_is_the_run_that_was_never_interrupted(setting, tmp_path):
    recipe = {"setting": setting, "label": "", "seed": 0}
    whole = trainer_for(setting, tmp_path / "whole", steps=4, save_every=2)
    expected = post_training.train(whole, recipe)
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "cut" / "checkpoint-2")
    resumed = trainer_for(setting, tmp_path / "cut", steps=4, save_every=2)
    found = post_training.train(resumed, recipe)
    assert len(expected) == 4
    assert found.equals(expected)
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, dict(resumed.model.named_parameters())[name])


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path):
    for step, whole in ((5, True), (10, True), (15, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / "whole").touch()
    assert objective.last_whole_checkpoint(tmp_path).endswith("checkpoint-10")
    assert objective.last_whole_checkpoint(tmp_path / "none") is None


def test_bad_settings_are_refused_early(tmp_path):
    with pytest.raises(ValueError, match="unknown setting 'SFT': expected one of off-policy SFT"):
        trainer_for("SFT", tmp_path)
    with pytest.raises(ValueError, match="give a teacher"):
        trainer_for("off-policy SFT", tmp_path, teach=False)
    with pytest.raises(ValueError, match="no multiple"):
        trainer_for("on-policy RL", tmp_path, batch_size=10)
