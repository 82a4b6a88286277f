"""Every recipe at a size that a CPU takes: another model, other data, short responses, two rounds, and no vLLM.

`torchrun --nproc-per-node 2 tests/training/tiny_recipes.py FOLDER` trains all of them in two processes.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

CONFIG = Path(__file__).parents[2] / "config"
RECIPES, ACCELERATE = CONFIG / "recipes", CONFIG / "accelerate"
WORDS = [*"0123456789+=", *(f"\\boxed{{{n}}}" for n in range(11)), "so", "user", "assistant", "<think>", "</think>"]
# As Qwen3's: an empty think block if thinking is switched off.
TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m.role }} {{ m.content }} <|im_end|> {% endfor %}"
    "<|im_start|> assistant{% if enable_thinking is false %} <think> </think>{% endif %}"
)
HARDWARE = {"use_vllm": False, "vllm_enable_sleep_mode": False}  # what a CPU cannot do


def make_base(folder: Path) -> None:
    """A Qwen3 of random weights whose tokens are words; its own end is not the end of a turn, as with Qwen3's bases."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
    words = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=special[0], unk_token="<unk>", additional_special_tokens=special[1:3]
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def make_data(folder: Path) -> None:
    """Sums, enough for a round of the largest recipe; a teacher's two responses to each, the second sometimes wrong."""
    sums = [(a, b, c) for a in range(10) for b in range(10) for c in range(8)]
    rows = [{"problem": f"{a} + {b} + {c} =", "answer": str((a + b + c) % 10)} for a, b, c in sums]
    pd.DataFrame(rows).to_json(folder / "problems.jsonl", orient="records", lines=True)
    written = [
        row | {"response": f"{'so ' * (1 + number % 2)}\\boxed{{{int(row['answer']) + slip}}}"}
        for number, row in enumerate(rows)
        for slip in (0, number % 2)
    ]
    pd.DataFrame(written).to_parquet(folder / "responses.parquet")


def cases() -> list[tuple[str, str, dict]]:
    """Name, recipe file and changes: every recipe, the ablation's six settings, and adapters for one more recipe."""
    from mathtransfer.training.settings import SETTINGS

    adapters = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    named = [(path.stem, path.stem, {}) for path in sorted(RECIPES.glob("*.yaml")) if path.stem != "ablation"]
    ablation = [(f"ablation: {setting}", "ablation", {"setting": setting}) for setting in SETTINGS]
    return [*named, *ablation, ("small_rl with adapters", "small_rl", {"lora": adapters})]


def at_tiny_size(recipe: str, changes: dict, folder: Path) -> dict:
    """The recipe for `post_training.run`: only model, data, steps, lengths and hardware are not its own.

    Batches of more than 1,000 responses have an eighth of them, with as many updates a round and groups of the same
    size.
    """
    from mathtransfer.training import recipes
    from mathtransfer.training.settings import SETTINGS

    own = recipes.read_recipe(RECIPES / f"{recipe}.yaml", changes)
    less = 8 if own["batch_size"] > 1000 else 1
    batch_size = own["batch_size"] // less
    trainer = own["trainer"] | {name: value for name, value in HARDWARE.items() if name in own["trainer"]}
    trainer["per_device_train_batch_size"] = batch_size // 2
    if "generation_batch_size" in trainer:
        trainer["generation_batch_size"] //= less
    updates = trainer.get("generation_batch_size", batch_size) // batch_size
    data = "responses.parquet" if SETTINGS[own["setting"]].sampling == "teacher" else "problems.jsonl"
    return own | {
        "model": str(folder / "base"),
        "data": str(folder / data),
        "steps": max(2, updates),
        "batch_size": batch_size,
        "max_completion": 4,
        "save_every": updates,
        "trainer": trainer,
    }


def sample_alike() -> None:
    """Let every process sample the responses of all processes, seeded by the step, and keep its own.

    What is sampled then does not depend on the number of processes, and losses can be compared.
    """
    import torch
    from accelerate.utils import gather_object

    from mathtransfer.training.objective import ObjectiveTrainer

    alone = ObjectiveTrainer._generate_single_turn

    def together(self, prompt_ids, *rest):
        torch.manual_seed(self.state.global_step)
        responses, _ = alone(self, gather_object(prompt_ids), *rest)
        first = self.accelerator.process_index * len(prompt_ids)
        return responses[first : first + len(prompt_ids)], None

    ObjectiveTrainer._generate_single_turn = together


@contextmanager
def plain_reward():
    """Compare the number in the last box as text: all that these responses need, and no grading process to start."""
    from mathtransfer.training import reward

    own = reward.open_reward
    reward.open_reward = lambda _: nullcontext(
        lambda text, answer, thinks: re.findall(r"boxed{(\d+)}", text)[-1:] == [answer]
    )
    try:
        yield
    finally:
        reward.open_reward = own


def step_of(model, batch) -> float:
    """One step of AdamW on a batch, all of it on every process; the loss before it."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    optimizer.step()
    return loss.item()


def load_base(folder: Path):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    return model, torch.arange(24).view(3, 8)


def sharded_step(folder: Path) -> None:
    """`step_of` the base, wrapped by accelerate as `config/accelerate/fsdp.yaml` says, but in float32 and on CPUs.

    accelerate itself offers FSDP on accelerators only, so its parts are called: those that read the file, make the
    plugin and shard the model with PyTorch's `fully_shard`.
    """
    import torch
    from accelerate import FullyShardedDataParallelPlugin, PartialState
    from accelerate.commands import launch
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model
    from accelerate.utils.launch import prepare_multi_gpu_env
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    asked = launch.launch_command_parser().parse_args(["--config_file", str(ACCELERATE / "fsdp.yaml"), __file__])
    settings = prepare_multi_gpu_env(launch._validate_launch_command(asked)[0])
    os.environ.update({name: value for name, value in settings.items() if name.startswith("FSDP_")})
    state = PartialState()
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=FullyShardedDataParallelPlugin()),
        device=state.device,
        mixed_precision="no",
        is_main_process=state.is_main_process,
    )
    model, batch = load_base(folder)
    wrapped = fsdp2_prepare_model(accelerator, model)
    layers = {type(layer).__name__ for layer in wrapped.model.layers}
    sharded = {name for name, weight in wrapped.named_parameters() if weight.to_local().numel() < weight.numel()}
    everything = len(list(wrapped.parameters()))
    loss = step_of(wrapped, batch)
    weights = get_model_state_dict(wrapped, options=StateDictOptions(full_state_dict=True))
    if state.is_main_process:
        found = {"loss": loss, "layers": layers, "sharded": len(sharded), "all": everything, "weights": weights}
        torch.save(found, folder / "sharded.pt")


def main(folder: Path) -> None:
    from mathtransfer.training import post_training

    sample_alike()
    with plain_reward():
        for name, recipe, changes in cases():
            out = str(folder / "two" / name.replace(" ", "-"))
            post_training.run(at_tiny_size(recipe, changes, folder) | {"out": out})
    sharded_step(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
