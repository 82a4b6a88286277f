"""One training run, step by step: load, build the trainer, train, keep.

The notebook `train` shows these steps one by one; `run` takes them all, in each of the processes that accelerate
started.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig

from mathtransfer import runs
from mathtransfer.miniature import traces
from mathtransfer.models import checkpoints
from mathtransfer.models.thinking import opens_thinking
from mathtransfer.training import problems, reward
from mathtransfer.training.objective import (
    ObjectiveTrainer,
    StepCallback,
    last_whole_checkpoint,
    model_rollout,
    teacher_rollout,
)
from mathtransfer.training.problems import Problems, Writer
from mathtransfer.training.reward import Correct
from mathtransfer.training.settings import Setting, setting_named

# What a recipe may change: the mean over all response tokens of an update, one pass, a constant rate.
_DEFAULTS = {
    "loss_type": "dapo",
    "temperature": 1.0,
    "use_bias_correction_kl": True,  # else the gradient of the KL estimate is not that of the KL divergence
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
    "gradient_checkpointing": False,
}
_OWNED = {  # trainer options with a name of their own in a recipe
    "beta": "setting",
    "gradient_accumulation_steps": "batch_size and per_device_train_batch_size",
    "learning_rate": "learning_rate",
    "max_completion_length": "max_completion",
    "max_steps": "steps",
    "num_generations": "group_size",
    "num_iterations": "generation_batch_size, the responses of a round",
    "output_dir": "out",
    "save_steps": "save_every",
    "seed": "seed",
    "steps_per_generation": "generation_batch_size, the responses of a round",
}


def run(recipe: dict) -> pd.DataFrame:
    """Train by a recipe and write its run folder: the steps of the notebook `train`.

    Args:
        recipe: see `recipes.read_recipe`, and `out`, the run folder.

    Returns:
        The training log, see `train`.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: there is no such model or data.
        ValueError: a value is not what it should be.
    """
    found = problems.read_problems(recipe["data"], recipe["problems_each"], recipe["overlap"])
    tokenizer = load_tokenizer(recipe)
    rows, writer = training_rows(recipe, found, tokenizer)
    teacher = load_teacher(recipe, writer)
    with run_folder(recipe, found) as folder, reward.open_reward(found.grader) as correct:
        trainer = build_trainer(recipe, tokenizer, rows, teacher, correct, folder / runs.RESUME)
        log = train(trainer, recipe)
        keep(trainer, log, folder)
    return log


def load_tokenizer(recipe: dict) -> PreTrainedTokenizerBase:
    """The base's tokenizer, which ends a response where the recipe says that a turn ends.

    Raises:
        ValueError: the recipe's `end_of_turn` is no token of the base.
    """
    prompt = problems.prompt_options(recipe["prompt"])
    tokenizer = checkpoints.load_tokenizer(recipe["model"], _loading(recipe).get("revision"))
    if end := prompt["end_of_turn"]:
        if end not in tokenizer.get_vocab():
            raise ValueError(
                f"end_of_turn {end!r} is no token of {recipe['model']}: name one of its tokens, or leave it out for "
                f"the tokenizer's own end, {tokenizer.eos_token!r}"
            )
        tokenizer.eos_token = end
    return tokenizer


def training_rows(
    recipe: dict, found: Problems, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[dict[str, str]], Writer | None]:
    """What the trainer takes, and who can write its responses: see `problems.training_rows`.

    Raises:
        ValueError: no problem is left, or a teacher is to err who is not the miniature's.
    """
    ours = recipe["teacher"] in ("", *traces.TEACHERS)
    if recipe["teacher_errs"] and not (ours and found.known):
        raise ValueError("teacher_errs is for the miniature's teacher, who writes in a style: another errs as it does")
    style = recipe["teacher"] if ours and recipe["teacher"] else "foreign"
    limits = recipe["prompt"], recipe["max_completion"]
    return problems.training_rows(found, tokenizer, *limits, style, recipe["teacher_errs"])


def load_teacher(recipe: dict, writer: Writer | None) -> Writer | PreTrainedModel | None:
    """Who writes the responses if q is the teacher: the model that the recipe names, or else the data's writer.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError: there is no such model.
    """
    if recipe["teacher"] in ("", *traces.TEACHERS):
        return writer
    return checkpoints.load_model(recipe["teacher"])


@contextmanager
def run_folder(recipe: dict, found: Problems) -> Iterator[Path]:
    """The run folder, made by the first process and shared by all; see `runs.run_folder`.

    Its manifest says which base and which problems the run trains with, how many rows were left out, and the hardware.
    """
    state = _processes()
    if state.is_main_process:
        loading = _loading(recipe)
        facts = {
            "base_fingerprint": checkpoints.fingerprint(recipe["model"], loading.get("revision")),
            "data": found.origins,
            "removed": found.removed,
            "placement": {"device": checkpoints.DEVICE, "dtype": loading["dtype"], "autocast": _autocast_dtype()},
        }
        with runs.run_folder(recipe["out"], "train", recipe, **facts) as folder:
            state.wait_for_everyone()
            yield folder
    else:
        state.wait_for_everyone()
        yield runs.partial_folder(recipe["out"])


def build_trainer(
    recipe: dict,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, str]],
    teacher: Writer | PreTrainedModel | None,
    correct: Correct,
    folder: Path,
) -> ObjectiveTrainer:
    """The trainer of one setting of the unified objective. TRL loads the base for it, each process its share.

    If beta > 0 the reference is the base, loaded once more; with LoRA it is the policy without its adapter.

    Args:
        recipe: `model`, the base; `setting`; `seed`, which orders the problems and seeds every sampled response;
            `steps`, the updates, or None if `trainer` says how many epochs (`num_train_epochs`); `batch_size`, the
            responses in an update on all processes together, of which `group_size` answer the same prompt;
            `learning_rate`; `max_completion`, the tokens after which a response is cut; `begins`, words with which the
            policy's responses start; `save_every`; `trainer`, more of TRL's `GRPOConfig`; `lora`, peft's `LoraConfig`,
            or nothing to train all weights.
        rows: with `prompt` and `answer`.
        teacher: from `load_teacher`; needed if q is the teacher.
        correct: from `reward.open_reward`; the reward is 1 or 0.
        folder: where checkpoints are kept while training runs.

    Raises:
        ValueError: the setting or a trainer option does not exist, the teacher is missing or is to begin with given
            words, the base has no token for them, or the batch does not divide into groups and passes.
    """
    setting, options = setting_named(recipe["setting"]), recipe["trainer"]
    _check_options(options)
    if setting.sampling == "teacher" and teacher is None:
        raise ValueError(f"setting {recipe['setting']!r} trains on a teacher's responses: give a teacher")
    begins = _given_tokens(recipe["begins"], setting, tokenizer)
    division = _passes(recipe, setting, _processes().num_processes)
    precision = _autocast_dtype()
    disable_progress_bar()  # it would end up in the pages of the book

    def rewards(prompts: list[str], completions: list[str], answer: list[str], **_) -> list[float]:
        rows = zip(prompts, completions, answer, strict=True)
        return [float(correct(c, a, opens_thinking(p))) for p, c, a in rows]

    rollout = None
    if setting.sampling == "teacher":
        answer = model_rollout if isinstance(teacher, PreTrainedModel) else teacher_rollout
        rollout = answer(teacher, recipe["seed"])
    built = ObjectiveTrainer(
        model=checkpoints.resolve(recipe["model"]),
        processing_class=tokenizer,
        reward_funcs=rewards,
        train_dataset=Dataset.from_list(rows),
        weight=setting.weight,
        begins=begins,
        rollout_func=rollout,
        callbacks=[StepCallback(recipe["seed"])],
        peft_config=_lora_config(recipe["lora"]) if recipe["lora"] else None,
        args=GRPOConfig(
            output_dir=str(folder),
            seed=recipe["seed"],
            max_steps=-1 if recipe["steps"] is None else recipe["steps"],
            num_generations=max(2, recipe["group_size"]),
            max_completion_length=recipe["max_completion"],
            beta=setting.kl,
            learning_rate=recipe["learning_rate"],
            save_steps=recipe["save_every"],
            **_DEFAULTS
            | {"bf16": precision == "bf16", "fp16": precision == "fp16"}
            | options
            | division
            | {"model_init_kwargs": _loading(recipe)},
            save_total_limit=2,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
    )
    built.num_generations = recipe["group_size"]  # TRL refuses 1, which leaves no advantage; here it may not be needed
    built.remove_callback(PrinterCallback)
    return built


def train(trainer: ObjectiveTrainer, recipe: dict) -> pd.DataFrame:
    """Train to the end, from the last whole checkpoint in the trainer's folder if there is one.

    Returns:
        One row a step: `step`, `loss`, `gradient_norm`, `reward`, `response_length` (tokens), `entropy` (nats), and
        the recipe's `setting` and `seed`.
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
    steps = pd.DataFrame([row for row in trainer.state.log_history if "grad_norm" in row])
    log = steps[list(names)].ffill().rename(columns=names)  # several updates share one round's responses
    return log.assign(setting=recipe["label"] or recipe["setting"], seed=recipe["seed"])


def keep(trainer: ObjectiveTrainer, log: pd.DataFrame, folder: Path) -> None:
    """Write the trained model (`checkpoint`) and the training log (`log.csv`) to the run folder.

    Shards are gathered, and a low-rank adapter is merged into its base.
    """
    weights = trainer.accelerator.get_state_dict(trainer.model)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model, weights = model.merge_and_unload(), None
    if trainer.accelerator.is_main_process:
        model.generation_config.eos_token_id = trainer.eos_token_ids
        model.save_pretrained(folder / "checkpoint", state_dict=weights)
        trainer.processing_class.save_pretrained(folder / "checkpoint")
        log.to_csv(folder / "log.csv", index=False)


def _processes() -> PartialState:
    return PartialState(cpu=not torch.cuda.is_available())


def _autocast_dtype() -> str:
    """`bf16` on a GPU that computes in bfloat16, `fp16` on one that does not (a T4), `no` without a GPU."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _loading(recipe: dict) -> dict:
    """How the base is loaded: in float32 unless it is frozen, for updates are too small for what bfloat16 can add."""
    dtype = "bfloat16" if recipe["lora"] and _autocast_dtype() == "bf16" else "float32"
    return {"dtype": dtype, "use_safetensors": True} | recipe["trainer"].get("model_init_kwargs", {})


def _check_options(options: dict) -> None:
    """Refuse trainer options that TRL does not have, or that the recipe sets by another name."""
    if owned := sorted(set(options) & set(_OWNED)):
        raise ValueError("; ".join(f"trainer option {name} is set by {_OWNED[name]}" for name in owned))
    if unknown := sorted(set(options) - {field.name for field in fields(GRPOConfig)}):
        raise ValueError(f"unknown trainer option {', '.join(unknown)}: TRL's GRPOConfig has no such field")


def _given_tokens(words: str, setting: Setting, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    if words and setting.sampling == "teacher":
        raise ValueError(f"begins {words!r} is for the policy's responses: a teacher writes as it does")
    ids = tokenizer(words, add_special_tokens=False).input_ids if words else []
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        raise ValueError(f"the base has no token for a part of {words!r}: let responses begin with other words")
    return ids


def _passes(recipe: dict, setting: Setting, processes: int) -> dict[str, int]:
    """How an update is divided: responses a pass, and passes to accumulate gradients over."""
    batch_size, group_size, save_every = recipe["batch_size"], recipe["group_size"], recipe["save_every"]
    per_pass = recipe["trainer"].get("per_device_train_batch_size", batch_size // processes)
    together = per_pass * processes
    a_round = recipe["trainer"].get("generation_batch_size", batch_size)
    if batch_size % group_size:
        raise ValueError(f"batch_size {batch_size} is no multiple of group_size {group_size}")
    if setting.weight == "advantage" and group_size < 2:
        raise ValueError(f"group_size {group_size} leaves nothing to compare a response with: give 2 or more")
    if not together or batch_size % together:
        raise ValueError(f"batch_size {batch_size} is no multiple of {per_pass} responses on {processes} processes")
    if a_round % batch_size:
        raise ValueError(f"generation_batch_size {a_round} is no multiple of batch_size {batch_size}")
    updates = a_round // batch_size
    if updates > 1 and a_round % (processes * updates * group_size):
        raise ValueError(f"{a_round} responses are no whole groups for {updates} updates on {processes} processes")
    if save_every % updates:
        raise ValueError(
            f"save_every {save_every} is no multiple of the {updates} updates from one round of responses, "
            "which a checkpoint between them would lose"
        )
    return {"per_device_train_batch_size": per_pass, "gradient_accumulation_steps": batch_size // together}


def _lora_config(lora: dict):
    from peft import LoraConfig

    try:
        return LoraConfig(task_type="CAUSAL_LM", **lora)
    except TypeError as error:
        raise ValueError(f"unknown lora option: {error}") from None
