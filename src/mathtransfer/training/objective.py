"""The paper's unified objective L(q, w, beta) on TRL's `GRPOTrainer` (Section 5.1, Equation 3).

One gradient covers supervised fine-tuning and reinforcement learning:

    grad L = - E_{x, y ~ q} [ w(x, y) grad log pi(y | x) ] + beta grad KL(pi || pi_ref)

q says who writes the responses (the teacher or the policy), w how much each one counts (all the same, only the correct
ones, or by group-normalised advantage), beta how strongly the policy is held to the base. A setting is a row of
`SETTINGS` and nothing else. Sums over tokens are divided by the number of response tokens in the update, whatever the
number of passes and processes it takes. The KL term is TRL's estimator on the sampled tokens, exp(r) - r - 1 with
r = log pi_ref - log pi. Clipping does nothing where every response is used for one update at once; a recipe that makes
several updates from one round of responses divides by the mean number of tokens of these updates.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, gather_object
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import RepeatSampler, split_tensor_dict

from mathtransfer import runs
from mathtransfer.models import checkpoints
from mathtransfer.models.sampling import sample
from mathtransfer.training.problems import Sources, Teacher, check_prompt, grader, load_problems

WEIGHTS = ("one", "rejection", "advantage")
# What a recipe may change: the mean over all response tokens of an update, one pass, a constant rate.
DEFAULTS = {
    "loss_type": "dapo",
    "temperature": 1.0,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 5,
    "gradient_checkpointing": False,
}
OWNED = {  # trainer options with a name of their own in a recipe
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
PASSES = 4  # of an update, by the length of its responses
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


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order of its own for every epoch, which a run resumed in a later epoch finds again."""

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + 1_000_003 * epoch)


class ObjectiveTrainer(GRPOTrainer):
    """TRL's trainer with the responses' weights chosen by the setting; `advantage` is what TRL computes itself."""

    def __init__(self, *args, weight: str, **kwargs):
        if weight not in WEIGHTS:
            raise ValueError(f"unknown weight {weight!r}: expected one of {', '.join(WEIGHTS)}")
        super().__init__(*args, **kwargs)
        self.weight = weight

    def _get_train_sampler(self, dataset: Dataset | None = None) -> EpochSampler:
        return EpochSampler(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.args.steps_per_generation,
            seed=self.args.seed,
        )

    def _calculate_rewards(self, *args, **kwargs) -> Tensor:
        self._last_rewards = super()._calculate_rewards(*args, **kwargs)  # (batch, reward functions)
        return self._last_rewards

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Tensor]:
        batch = super()._generate_and_score_completions(inputs)
        first = self.accelerator.process_index * len(inputs)
        rewards = self._last_rewards.sum(1)[first : first + len(inputs)]  # (this process's responses,)
        if self.weight == "one":
            batch["advantages"] = torch.ones_like(rewards)
        elif self.weight == "rejection":
            batch["advantages"] = rewards
        return batch

    def _generate_single_turn(self, prompt_ids: list[list[int]], *others) -> tuple[list[list[int]], None]:
        """Finished rows leave the batch; what only TRL can do (vLLM, shards, other ways to sample) is left to it."""
        args = self.args
        engines = self.use_vllm or self.use_transformers_continuous_batching
        shards = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        if engines or shards or args.top_k or args.min_p or args.repetition_penalty != 1.0 or args.generation_kwargs:
            return super()._generate_single_turn(prompt_ids, *others)
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs,
        ) as model:
            limits = [self.max_completion_length] * len(prompt_ids)
            completions, _ = sample(
                model, prompt_ids, limits, self.eos_token_ids, temperature=self.temperature, top_p=self.top_p
            )
        return completions, None

    def _get_per_token_logps_and_entropies(
        self, model, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **others
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Passes of rows with about the same length, each without the padding that its rows share: the same values."""
        if others.get("compute_aux_loss") or any(isinstance(value, Tensor) for value in others.values()):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **others
            )
        start = input_ids.size(1) - logits_to_keep
        lengths = attention_mask[:, start:].sum(1)
        order = lengths.argsort(descending=True, stable=True)
        parts = []
        for rows in order.tensor_split(min(PASSES, len(order))):
            padding = int((attention_mask[rows, :start].cumsum(1) == 0).sum(1).min())
            keep = max(1, int(lengths[rows].max()))
            own = slice(padding, start + keep)
            logps, entropies, _ = super()._get_per_token_logps_and_entropies(
                model, input_ids[rows, own], attention_mask[rows, own], keep, **others
            )
            parts.append([None if x is None else pad(x, (0, logits_to_keep - keep)) for x in (logps, entropies)])
        back = order.argsort()
        logps, entropies = (None if x[0] is None else torch.cat(x)[back] for x in zip(*parts, strict=True))
        return logps, entropies, None

    def _prepare_inputs(self, generation_batch: list[dict]) -> dict[str, Tensor]:
        """With several updates a round, deals whole groups to them, as verl does, whatever the number of processes.

        TRL shuffles the responses in each process instead, so its updates depend on how many processes there are.
        """
        updates = self.args.steps_per_generation // self.args.gradient_accumulation_steps
        if updates == 1:
            return super()._prepare_inputs(generation_batch)
        step = self._step % self.args.steps_per_generation
        if step == 0:
            batch = self._generate_and_score_completions(generation_batch)
            rows = torch.arange(len(generation_batch)).view(-1, updates, self.num_generations)
            order = rows.transpose(0, 1).flatten()  # group g goes to update g modulo the number of updates
            dealt = {name: value[order] if value.ndim else value for name, value in batch.items()}
            self._buffered_inputs = split_tensor_dict(dealt, self.args.steps_per_generation)
        return self._buffered_inputs[step]


class StepCallback(TrainerCallback):
    """Seeds every step by its number, marks whole checkpoints, and says how training goes.

    Sampling then depends on the seed, the step and the process alone, so a resumed run repeats the run that was never
    interrupted, and no two processes draw the same random numbers.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_step_begin(self, args, state, control, **kwargs):
        torch.manual_seed(self.seed * 1_000_003 + state.global_step + 1_000_000_007 * args.process_index)

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()

    def on_log(self, args, state, control, logs=None, **kwargs):
        every = max(1, state.max_steps // 10)
        due = state.global_step % every == 0 or state.global_step == 1
        if logs and "reward" in logs and due and state.is_world_process_zero:
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
    """A TRL rollout function that lets the teacher write the responses: q = teacher.

    Every process lets it answer the prompts of all processes in their order, so its answers do not depend on how many
    there are.
    """

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict:
        tokenizer = trainer.processing_class
        rng = random.Random(f"teacher|{seed}|{trainer.state.global_step}")
        limit = trainer.max_completion_length
        texts = [teacher(p, rng) for p in gather_object(prompts)]
        first = trainer.accelerator.process_index * len(prompts)
        responses = [
            [*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts[first : first + len(prompts)]
        ]
        if max(map(len, responses)) > limit:
            raise ValueError(f"a teacher response has {max(map(len, responses))} tokens, max_completion is {limit}")
        return {"prompt_ids": tokenizer(prompts).input_ids, "completion_ids": responses, "logprobs": None}

    return rollout


def autocast_dtype() -> str:
    """`bf16` on a GPU that computes in bfloat16, `fp16` on one that does not (a T4), `no` without a GPU."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def check_trainer(trainer: dict) -> None:
    """Refuse trainer options that TRL does not have, or that the recipe sets by another name.

    Raises:
        ValueError: there is such an option.
    """
    if owned := sorted(set(trainer) & set(OWNED)):
        raise ValueError("; ".join(f"trainer option {name} is set by {OWNED[name]}" for name in owned))
    if unknown := sorted(set(trainer) - {field.name for field in fields(GRPOConfig)}):
        raise ValueError(f"unknown trainer option {', '.join(unknown)}: TRL's GRPOConfig has no such field")


def passes(
    batch_size: int, group_size: int, save_every: int, trainer: dict, weight: str, processes: int
) -> dict[str, int]:
    """How an update is divided: responses a pass, and passes to accumulate gradients over.

    Raises:
        ValueError: something does not divide evenly, or groups of one are to be compared with each other.
    """
    per_pass = trainer.get("per_device_train_batch_size", batch_size // processes)
    together = per_pass * processes
    a_round = trainer.get("generation_batch_size", batch_size)
    if batch_size % group_size:
        raise ValueError(f"batch_size {batch_size} is no multiple of group_size {group_size}")
    if weight == "advantage" and group_size < 2:
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


def build_trainer(
    model: PreTrainedModel | str,
    tokenizer: PreTrainedTokenizerBase,
    problems: list[dict[str, str]],
    setting: str,
    correct: Callable[[str, str], bool],
    folder: Path,
    *,
    teacher: Teacher | None = None,
    seed: int,
    steps: int | None,
    batch_size: int,
    group_size: int,
    learning_rate: float,
    max_completion: int,
    save_every: int,
    trainer: dict | None = None,
    lora: dict | None = None,
) -> ObjectiveTrainer:
    """The trainer of one setting of the unified objective.

    Args:
        model: the policy, changed in place, or where TRL shall load it from. With beta > 0 the reference is loaded anew
            from where the policy came from; with LoRA it is the policy without its adapter.
        problems: rows with `prompt` and `answer`.
        setting: a key of `SETTINGS`.
        correct: whether a response gives the answer; the reward is 1 or 0.
        folder: where checkpoints are kept while training runs.
        teacher: (prompt, random generator) -> response; needed where q is the teacher.
        seed: orders the problems and seeds every sampled response.
        steps: updates; None if `trainer` says how many epochs (`num_train_epochs`).
        batch_size: responses in an update, on all processes together; `group_size` of them answer the same prompt.
        max_completion: response tokens, longer ones are cut.
        trainer: more of TRL's `GRPOConfig`, such as the schedule, the clip range and what fits into memory.
        lora: peft's `LoraConfig`; without it all weights are trained.

    Raises:
        ValueError: the setting or a trainer option does not exist, the teacher is missing, or the batch does not divide
            into groups and passes.
    """
    row = check_setting(setting)
    options = trainer or {}
    check_trainer(options)
    if row.sampling == "teacher" and teacher is None:
        raise ValueError(f"setting {setting!r} trains on a teacher's responses: give a teacher")
    on_gpu = torch.cuda.is_available()
    processes = PartialState(cpu=not on_gpu).num_processes
    division = passes(batch_size, group_size, save_every, options, row.weight, processes)

    def reward(completions: list[str], answer: list[str], **_) -> list[float]:
        return [float(correct(c, a)) for c, a in zip(completions, answer, strict=True)]

    built = ObjectiveTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(problems),
        weight=row.weight,
        rollout_func=teacher_rollout(teacher, seed) if row.sampling == "teacher" else None,
        callbacks=[StepCallback(seed)],
        peft_config=lora_config(lora) if lora else None,
        args=GRPOConfig(
            output_dir=str(folder),
            seed=seed,
            max_steps=-1 if steps is None else steps,
            num_generations=max(2, group_size),
            max_completion_length=max_completion,
            beta=row.kl,
            learning_rate=learning_rate,
            save_steps=save_every,
            **DEFAULTS | {"bf16": autocast_dtype() == "bf16", "fp16": autocast_dtype() == "fp16"} | options | division,
            save_total_limit=2,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            use_cpu=not on_gpu,
        ),
    )
    built.num_generations = group_size  # TRL refuses 1, which leaves no advantage; here it may not be needed
    built.remove_callback(PrinterCallback)
    return built


def lora_config(lora: dict):
    """peft's configuration of low-rank adapters.

    Raises:
        ValueError: peft has no such option.
    """
    from peft import LoraConfig

    try:
        return LoraConfig(task_type="CAUSAL_LM", **lora)
    except TypeError as error:
        raise ValueError(f"unknown lora option: {error}") from None


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
    steps = pd.DataFrame([row for row in trainer.state.log_history if "grad_norm" in row])
    return steps[list(names)].ffill().rename(columns=names)  # several updates share one round's responses


def keep_final(trainer: ObjectiveTrainer, folder: Path) -> None:
    """Write the trained model to `checkpoint` in the run folder.

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


def run(
    *,
    out: str,
    model: str,
    setting: str,
    seed: int,
    data: Sources,
    steps: int | None,
    batch_size: int,
    group_size: int,
    learning_rate: float,
    max_completion: int,
    save_every: int,
    problems_each: int = 0,
    prompt: dict | None = None,
    trainer: dict | None = None,
    lora: dict | None = None,
) -> pd.DataFrame:
    """Train one model in one setting and write the run folder `out`, in one process or in each of several.

    Args:
        model: the base: a checkpoint folder, a hub id or `miniature`.
        data, problems_each, prompt: see `problems.load_problems`.

    The others are those of `build_trainer`.

    Returns:
        The training log, see `train`, with `setting` and `seed`.

    Raises:
        FileNotFoundError: there is no such model or data.
        ValueError: an argument is not what it should be.
    """
    parameters = {name: value for name, value in locals().items() if name != "out"}
    options, prompt = trainer or {}, check_prompt(prompt or {})
    # TRL loads the weights, each process its share. An update is far smaller than what bfloat16 can add to a weight, so
    # weights that are trained are float32.
    dtype = "bfloat16" if lora and autocast_dtype() == "bf16" else "float32"
    loading = {"dtype": dtype, "use_safetensors": True} | options.get("model_init_kwargs", {})
    tokenizer = checkpoints.load_tokenizer(model, loading.get("revision"))
    tokenizer.eos_token = prompt["end_of_turn"] or tokenizer.eos_token
    rows, teacher = load_problems(
        data, tokenizer, problems_each=problems_each, prompt=prompt, max_completion=max_completion
    )
    disable_progress_bar()  # it would end up in the pages of the book
    state = PartialState(cpu=not torch.cuda.is_available())
    facts = {
        "base_fingerprint": checkpoints.fingerprint(model, loading.get("revision")),
        "placement": {"device": checkpoints.DEVICE, "dtype": dtype, "autocast": autocast_dtype()},
    }
    with _folder(state, out, parameters, facts) as folder:
        with grader(data) as correct:
            built = build_trainer(
                checkpoints.resolve(model),
                tokenizer,
                rows,
                setting,
                correct,
                folder / runs.RESUME,
                teacher=teacher,
                seed=seed,
                steps=steps,
                batch_size=batch_size,
                group_size=group_size,
                learning_rate=learning_rate,
                max_completion=max_completion,
                save_every=save_every,
                trainer=options | {"model_init_kwargs": loading},
                lora=lora,
            )
            log = train(built).assign(setting=setting, seed=seed)
        keep_final(built, folder)
        if state.is_main_process:
            log.to_csv(folder / "log.csv", index=False)
    return log


@contextmanager
def _folder(state: PartialState, out: str, parameters: dict, facts: dict) -> Iterator[Path]:
    """The run folder, made by the first process and shared by all."""
    if state.is_main_process:
        with runs.run_folder(out, "train", parameters, **facts) as folder:
            state.wait_for_everyone()
            yield folder
    else:
        state.wait_for_everyone()
        yield runs.partial_folder(out)
