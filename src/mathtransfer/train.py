"""The paper's unified objective L(q, w, beta) on TRL's `GRPOTrainer` (Section 5.1, Equation 3).

One gradient covers supervised fine-tuning and reinforcement learning:

    grad L = - E_{x, y ~ q} [ w(x, y) grad log pi(y | x) ] + beta grad KL(pi || pi_ref)

q says who writes the responses (the teacher or the policy), w how much each one counts (all the same, only the correct
ones, or by group-normalised advantage), beta how strongly the policy is held to the base. A setting is a row of
`SETTINGS` and nothing else. Sums over tokens are divided by the number of response tokens in the batch. The KL term is
TRL's estimator on the sampled tokens, exp(r) - r - 1 with r = log pi_ref - log pi. Left out: clipping does nothing
here, since every batch is used for one update.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

Teacher = Callable[[str, random.Random], str]
WEIGHTS = ("one", "rejection", "advantage")
WHOLE = "whole"  # this file in a checkpoint says that it was written to its end


@dataclass(frozen=True)
class Setting:
    """A row of the paper's ablation: sampling q, weight w and KL coefficient beta (Section 5.1, Table 4)."""

    sampling: str  # "teacher" or "policy"
    weight: str  # "one", "rejection" or "advantage"
    kl: float


SETTINGS = {
    "off-policy SFT": Setting("teacher", "one", 0.0),
    "off-policy SFT, rejection": Setting("teacher", "rejection", 0.0),
    "on-policy SFT": Setting("policy", "rejection", 0.0),
    "off-policy RL": Setting("teacher", "advantage", 0.0),
    "on-policy RL": Setting("policy", "advantage", 0.0),  # the paper: "On-policy RL (no KL)"
    "on-policy RL with KL": Setting("policy", "advantage", 0.02),  # the paper: "On-policy RL"
}


def check_setting(setting: str) -> Setting:
    """The row of a setting.

    Raises:
        ValueError: there is no such setting.
    """
    if setting not in SETTINGS:
        raise ValueError(f"unknown setting {setting!r}: expected one of {', '.join(SETTINGS)}")
    return SETTINGS[setting]


class ObjectiveTrainer(GRPOTrainer):
    """TRL's trainer with the responses' weights chosen by the setting; `advantage` is what TRL computes itself."""

    def __init__(self, *args, weight: str, **kwargs):
        if weight not in WEIGHTS:
            raise ValueError(f"unknown weight {weight!r}: expected one of {', '.join(WEIGHTS)}")
        super().__init__(*args, **kwargs)
        self.weight = weight

    def _calculate_rewards(self, *args, **kwargs) -> Tensor:
        self._last_rewards = super()._calculate_rewards(*args, **kwargs)  # (batch, reward functions)
        return self._last_rewards

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Tensor]:
        batch = super()._generate_and_score_completions(inputs)
        rewards = self._last_rewards.sum(1)  # (batch,)
        if self.weight == "one":
            batch["advantages"] = torch.ones_like(rewards)
        elif self.weight == "rejection":
            batch["advantages"] = rewards
        return batch


class StepCallback(TrainerCallback):
    """Seeds every step by its number, marks whole checkpoints, and says how training goes.

    Sampling then depends on the seed and the step alone, so a resumed run repeats the run that was never interrupted.
    """

    def __init__(self, seed: int, report_every: int):
        self.seed, self.report_every = seed, report_every

    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(self.seed * 1_000_003 + state.global_step)

    def on_save(self, args, state, control, **kwargs):
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "reward" in logs and (state.global_step % self.report_every == 0 or state.global_step == 1):
            print(
                f"step {state.global_step}/{state.max_steps}  reward {logs['reward']:.2f}  "
                f"length {logs['completions/mean_length']:.0f}  entropy {logs['entropy']:.2f} nats  "
                f"gradient norm {logs['grad_norm']:.2f}",
                flush=True,
            )


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, or None."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{WHOLE}")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def teacher_rollout(teacher: Teacher, seed: int) -> Callable:
    """A TRL rollout function that lets the teacher write the responses: q = teacher."""

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict:
        tokenizer = trainer.processing_class
        rng = random.Random(f"teacher|{seed}|{trainer.state.global_step}")
        limit = trainer.max_completion_length
        responses = [[*tokenizer(teacher(p, rng)).input_ids, tokenizer.eos_token_id] for p in prompts]
        if max(map(len, responses)) > limit:
            raise ValueError(f"a teacher response has {max(map(len, responses))} tokens, max_completion is {limit}")
        return {"prompt_ids": tokenizer(prompts).input_ids, "completion_ids": responses, "logprobs": None}

    return rollout


def build_trainer(
    model,
    tokenizer,
    problems: list[dict[str, str]],
    setting: str,
    correct: Callable[[str, str], bool],
    folder: Path,
    *,
    teacher: Teacher | None = None,
    seed: int,
    steps: int,
    batch_size: int,
    group_size: int,
    learning_rate: float,
    max_completion: int,
    save_every: int,
) -> ObjectiveTrainer:
    """The trainer of one setting of the unified objective.

    Args:
        model: the policy, changed in place. With beta > 0 the reference is loaded anew from where it came from.
        problems: rows with `prompt` and `answer`.
        setting: a key of `SETTINGS`.
        correct: whether a response gives the answer; the reward is 1 or 0.
        folder: where checkpoints are kept while training runs.
        teacher: (prompt, random generator) -> response; needed where q is the teacher.
        seed: orders the problems and seeds every sampled response.
        batch_size: responses in an update; `group_size` of them answer the same prompt.
        max_completion: response tokens, longer ones are cut.

    Raises:
        ValueError: the setting does not exist, the teacher is missing, or the batch does not divide into groups.
    """
    row = check_setting(setting)
    if row.sampling == "teacher" and teacher is None:
        raise ValueError(f"setting {setting!r} trains on a teacher's responses: give a teacher")
    if batch_size % group_size:
        raise ValueError(f"batch_size {batch_size} is no multiple of group_size {group_size}")
    on_gpu = torch.cuda.is_available()

    def reward(completions: list[str], answer: list[str], **_) -> list[float]:
        return [float(correct(c, a)) for c, a in zip(completions, answer, strict=True)]

    trainer = ObjectiveTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(problems),
        weight=row.weight,
        rollout_func=teacher_rollout(teacher, seed) if row.sampling == "teacher" else None,
        callbacks=[StepCallback(seed, report_every=max(1, steps // 10))],
        args=GRPOConfig(
            output_dir=str(folder),
            seed=seed,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            num_generations=group_size,
            max_completion_length=max_completion,
            beta=row.kl,
            loss_type="bnpo",  # the mean over all response tokens of the batch
            temperature=1.0,
            learning_rate=learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=5,
            logging_steps=1,
            save_steps=save_every,
            save_total_limit=2,
            report_to="none",
            disable_tqdm=True,
            gradient_checkpointing=False,
            use_cpu=not on_gpu,
            bf16=on_gpu,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(trainer: ObjectiveTrainer) -> pd.DataFrame:
    """Train to the end, from the last whole checkpoint in the trainer's folder if there is one.

    Returns:
        One row a step: `step`, `loss`, `gradient_norm`, `reward`, `response_length` (tokens), `entropy` (nats).
    """
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(Path(trainer.args.output_dir)))
    names = {
        "step": "step",
        "loss": "loss",
        "grad_norm": "gradient_norm",
        "reward": "reward",
        "completions/mean_length": "response_length",
        "entropy": "entropy",
    }
    steps = [row for row in trainer.state.log_history if "reward" in row]
    return pd.DataFrame(steps)[list(names)].rename(columns=names)


def keep_final(model, tokenizer, folder: Path) -> None:
    """Write the trained model to `checkpoint` in the run folder and drop what was only there for resuming."""
    model.save_pretrained(folder / "checkpoint")
    tokenizer.save_pretrained(folder / "checkpoint")
    shutil.rmtree(folder / "checkpoints")
