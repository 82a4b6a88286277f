"""The paper's unified objective L(q, w, beta) on TRL's `GRPOTrainer` (Section 5.1, Equation 3).

One gradient covers supervised fine-tuning and reinforcement learning:

    grad L = - E_{x, y ~ q} [ w(x, y) grad log pi(y | x) ] + beta grad KL(pi || pi_ref)

q says who writes the responses (a teacher or the policy), w how much each one counts (all the same, only the correct
ones, or by group-normalised advantage), beta how strongly the policy is held to the base: a setting is a row of
`settings.SETTINGS` and nothing else. Sums over tokens are divided by the number of response tokens in the update,
whatever the number of passes and processes it takes. The KL term is TRL's estimator on the sampled tokens,
exp(r) - r - 1 with r = log pi_ref - log pi, times pi over the policy that sampled: what is sampled depends on the
policy too, and without this factor of one the gradient would leave that out. Clipping does nothing if every response is
used for one update at once; a recipe that makes several updates from one round of responses divides by the mean number
of tokens of these updates.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, gather_object
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedConfig, PreTrainedModel, TrainerCallback
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import RepeatSampler, split_tensor_dict

from mathtransfer.models import prompting
from mathtransfer.models.sampling import sample
from mathtransfer.training.packing import WIDTH, Packed, pack
from mathtransfer.training.problems import Writer, response_ids

_PASSES = 4  # of an update, by the length of its responses
_WHOLE = "whole"  # this file in a checkpoint says that it was written to its end


class _EpochSampler(RepeatSampler):
    """TRL's sampler with an order of its own for every epoch, which a run resumed in a later epoch finds again."""

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(self.seed + 1_000_003 * epoch)


class ObjectiveTrainer(GRPOTrainer):
    """TRL's trainer with the responses' weights chosen by the setting; `advantage` is what TRL computes itself.

    Args:
        weight: `Setting.weight`.
        begins: tokens with which each response of the policy starts; they are given, and learnt like all others.
        args, kwargs: TRL's own.

    Raises:
        ValueError: responses have to start so, and only TRL can sample as `args` ask.
    """

    def __init__(self, *args, weight: str, begins: list[int], **kwargs):
        super().__init__(*args, **kwargs)
        self.weight, self._begins = weight, begins
        if begins and self._only_trl_samples():
            raise ValueError("begins: responses that start with given words are sampled on one machine, plainly")

    def _get_train_sampler(self, dataset: Dataset | None = None) -> _EpochSampler:
        return _EpochSampler(
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
        elif self.weight == "positive advantage":
            batch["advantages"] = batch["advantages"].clamp(min=0)
        return batch

    def _generate_single_turn(self, prompt_ids: list[list[int]], *others) -> tuple[list[list[int]], None]:
        """Finished rows leave the batch; what only TRL can do is left to it."""
        if self._only_trl_samples():
            return super()._generate_single_turn(prompt_ids, *others)
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            begun = [[*ids, *self._begins] for ids in prompt_ids]
            limits = [self.max_completion_length - len(self._begins)] * len(begun)
            completions, _ = sample(
                model, begun, limits, self.eos_token_ids, temperature=self.temperature, top_p=self.top_p
            )
        return [[*self._begins, *completion] for completion in completions], None

    def _only_trl_samples(self) -> bool:
        """With vLLM, over shards, or in ways that `sample` does not know."""
        args = self.args
        engines = self.use_vllm or self.use_transformers_continuous_batching
        shards = self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        ways = args.top_k or args.min_p or args.repetition_penalty != 1.0 or args.generation_kwargs
        return bool(engines or shards or ways)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **others
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The same values with less padding: short responses are packed into rows, others computed by length."""
        if others.get("compute_aux_loss") or any(isinstance(value, Tensor) for value in others.values()):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **others
            )
        if input_ids.size(1) <= WIDTH and _takes_any_mask(self.accelerator.unwrap_model(model).config):
            order, packed = _packed(input_ids, attention_mask.bool(), logits_to_keep)
            if 2 * packed.ids.numel() < input_ids.numel():  # else the mask costs more than the padding
                return self._packed_logps_and_entropies(model, order, packed, attention_mask[:, -logits_to_keep:])
        start = input_ids.size(1) - logits_to_keep
        lengths = attention_mask[:, start:].sum(1)
        order = lengths.argsort(descending=True, stable=True)
        parts = []
        for rows in order.tensor_split(min(_PASSES, len(order))):
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

    def _packed_logps_and_entropies(
        self, model, order: Tensor, packed: Packed, mask: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        """Both as `(batch, time)`, like `mask`, which says where responses are; 0 behind them."""
        with self.accelerator.autocast():
            output = model(
                input_ids=packed.ids.to(mask.device),
                position_ids=packed.positions.to(mask.device),
                attention_mask=packed.mask.to(mask.device),
                labels=packed.labels.to(mask.device),
                fused_lm_head=True,
            )
        labelled, there, back = packed.labels[:, 1:] >= 0, mask[order].bool(), order.argsort()
        logps, entropies = (
            None if x is None else x.new_zeros(there.shape).masked_scatter(there, x[labelled])[back]
            for x in (output.log_probs, output.entropy)
        )
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


def _packed(ids: Tensor, mask: Tensor, keep: int) -> tuple[Tensor, Packed]:
    """A batch, `(batch, time)` with responses in the last `keep` columns, packed; and the order of its sequences there.

    Those with the same prompt follow each other.
    """
    prompts, responses = (
        [row[there].tolist() for row, there in zip(ids[:, part], mask[:, part], strict=True)]
        for part in (slice(None, -keep), slice(-keep, None))
    )
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    return torch.tensor(order), pack([prompts[row] for row in order], [responses[row] for row in order])


def _takes_any_mask(config: PreTrainedConfig) -> bool:
    """Whether all of a model's layers attend as a mask says, and not to a window of their own or as a recurrence."""
    layers = set(getattr(config.get_text_config(), "layer_types", None) or ())
    return config._attn_implementation == "sdpa" and layers == {"full_attention"}


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
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()

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
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE}")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def model_rollout(teacher: PreTrainedModel, seed: int) -> Callable:
    """A TRL rollout function that lets another model write the responses, at temperature 1: q = that model."""

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict:
        step, process = trainer.state.global_step, trainer.accelerator.process_index
        ids = prompting.encode(trainer.processing_class, prompts)
        limits = [trainer.max_completion_length] * len(prompts)
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32(f"teacher|{seed}|{step}|{process}".encode()))
            completions, _ = sample(teacher, ids, limits, trainer.eos_token_ids)
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}

    return rollout


def teacher_rollout(teacher: Writer, seed: int) -> Callable:
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
        responses = [response_ids(tokenizer, text) for text in texts[first : first + len(prompts)]]
        if max(map(len, responses)) > limit:
            raise ValueError(f"a teacher response has {max(map(len, responses))} tokens, max_completion is {limit}")
        return {"prompt_ids": prompting.encode(tokenizer, prompts), "completion_ids": responses, "logprobs": None}

    return rollout
