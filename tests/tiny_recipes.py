"""Every recipe at a size that a CPU takes: another model, other data, short responses, two rounds, and no vLLM.

`python -m torch.distributed.run --nproc-per-node 2 tests/tiny_recipes.py FOLDER` trains all of them in two processes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

RECIPES = Path(__file__).parent.parent / "config" / "recipes"
WORDS = [*"0123456789+=", *(f"\\boxed{{{n}}}" for n in range(19)), "so", "user", "assistant", "<think>", "</think>"]
# As Qwen3's: an empty think block where thinking is switched off.
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
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def make_data(folder: Path) -> None:
    """Sums with a teacher's response each, one in ten of them wrong; enough for a round of the largest recipe."""
    rows = [
        {"problem": f"{a} + {b} = {c} + {d} +", "answer": str((a + b - c - d) % 10), "response": "so"}
        for a in range(10)
        for b in range(10)
        for c in range(4)
        for d in range(2)
    ]
    for number, row in enumerate(rows):
        row["response"] = f"so so \\boxed{{{int(row['answer']) + (number % 10 == 0)}}}"
    pd.DataFrame(rows).to_parquet(folder / "responses.parquet")
    pd.DataFrame(rows).drop(columns="response").to_json(folder / "problems.jsonl", orient="records", lines=True)


def cases() -> list[tuple[str, str, dict]]:
    """Name, recipe file and changes: every recipe, the ablation's six settings, and adapters where a recipe names them."""
    from mathtransfer import train

    adapters = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    named = [(path.stem, path.stem, {}) for path in sorted(RECIPES.glob("*.yaml")) if path.stem != "ablation"]
    ablation = [(f"ablation: {setting}", "ablation", {"setting": setting}) for setting in train.SETTINGS]
    return [*named, *ablation, ("small_rl with adapters", "small_rl", {"lora": adapters})]


def at_tiny_size(recipe: str, changes: dict, folder: Path) -> dict:
    """The recipe's arguments for `train.run`: only model, data, steps, lengths and hardware are not its own."""
    from mathtransfer import train

    own = train.read_recipe(RECIPES / f"{recipe}.yaml", changes)
    updates = own["trainer"].get("generation_batch_size", own["batch_size"]) // own["batch_size"]
    data = "responses.parquet" if train.SETTINGS[own["setting"]].sampling == "teacher" else "problems.jsonl"
    trainer = own["trainer"] | {name: value for name, value in HARDWARE.items() if name in own["trainer"]}
    trainer["per_device_train_batch_size"] = min(256, own["batch_size"] // 2)
    return own | {
        "model": str(folder / "base"),
        "data": str(folder / data),
        "steps": 2 * updates,
        "max_completion": 6,
        "save_every": updates,
        "trainer": trainer,
    }


def sample_alike() -> None:
    """Let every process sample the responses of all processes, seeded by the step, and keep its own.

    What is sampled then does not depend on the number of processes, and losses can be compared.
    """
    import torch
    from accelerate.utils import gather_object

    from mathtransfer.train import ObjectiveTrainer

    alone = ObjectiveTrainer._generate_single_turn

    def together(self, prompt_ids, *rest):
        torch.manual_seed(self.state.global_step)
        responses, _ = alone(self, gather_object(prompt_ids), *rest)
        first = self.accelerator.process_index * len(prompt_ids)
        return responses[first : first + len(prompt_ids)], None

    ObjectiveTrainer._generate_single_turn = together


def main(folder: Path) -> None:
    from mathtransfer import train

    sample_alike()
    for number, (_, recipe, changes) in enumerate(cases()):
        train.run(**at_tiny_size(recipe, changes, folder), out=str(folder / "two" / str(number)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
