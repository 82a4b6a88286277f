"""Every recipe trains, alike in one process and in two, and stopped and resumed."""

import hashlib
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny_recipes as tiny
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from conftest import papermill, run
from safetensors.torch import load_file
from transformers import TrainerCallback

from mathtransfer import runs
from mathtransfer.__main__ import main
from mathtransfer.paper import reported
from mathtransfer.training import objective, post_training, problems, recipes
from mathtransfer.training.settings import SETTINGS

CASES = {name: (recipe, changes) for name, recipe, changes in tiny.cases()}
FILES = sorted(tiny.RECIPES.glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    tiny.make_base(folder / "base")
    tiny.make_data(folder)
    return folder


@pytest.fixture(scope="module")
def both(folder):
    """All recipes in two processes (folder `two`), and beside them in this one (folder `one`)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    beside = subprocess.Popen([*command, tiny.__file__, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    with pytest.MonkeyPatch.context() as patch, tiny.plain_reward():
        patch.setattr(
            objective.ObjectiveTrainer, "_generate_single_turn", objective.ObjectiveTrainer._generate_single_turn
        )
        tiny.sample_alike()
        for name, (recipe, changes) in CASES.items():
            out = folder / "one" / name.replace(" ", "-")
            post_training.run(tiny.at_tiny_size(recipe, changes, folder) | {"out": str(out)})
    said = beside.communicate()[0].decode()
    assert beside.returncode == 0, said[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_does(both, name):
    runs = [both / number / name.replace(" ", "-") for number in ("one", "two")]
    one, two = (pd.read_csv(run / "log.csv") for run in runs)
    assert len(one) >= 2 and one["gradient_norm"].max() > 0
    for column in ("loss", "gradient_norm", "reward", "response_length"):
        assert two[column].to_numpy() == pytest.approx(one[column].to_numpy(), rel=1e-5, abs=1e-7), column
    base = load_file(both / "base" / "model.safetensors")
    ours, theirs = (load_file(run / "checkpoint" / "model.safetensors") for run in runs)
    assert set(ours) == set(base)  # adapters are merged
    assert any((ours[key] != base[key]).any() for key in base)
    assert all(torch.allclose(ours[key], theirs[key], rtol=1e-5, atol=2e-8) for key in base)


@pytest.mark.slow
def test_a_sharded_step_is_the_whole_models(both):
    found = torch.load(both / "sharded.pt")
    assert found["layers"] == {"FSDPQwen3DecoderLayer"} and found["sharded"] == found["all"]
    model, batch = tiny.load_base(both)
    assert found["loss"] == pytest.approx(tiny.step_of(model, batch), rel=1e-6)
    start = tiny.load_base(both)[0].state_dict()
    for name, weight in model.state_dict().items():
        assert torch.allclose(found["weights"][name], weight, rtol=1e-5, atol=1e-7)
        assert not torch.equal(weight, start[name])


class Killed(Exception):
    pass


class KillAt(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ("colab_rl", "small_rl", "study_sft") if name in CASES])
def test_a_run_killed_between_checkpoints_ends_as_if_it_never_was(folder, tmp_path, name, monkeypatch):
    recipe = tiny.at_tiny_size(*CASES[name], folder) | {"steps": 4, "save_every": 2}
    build = post_training.build_trainer

    def doomed(*args, **kwargs):
        built = build(*args, **kwargs)
        built.add_callback(KillAt(3))
        return built

    with tiny.plain_reward():
        whole = post_training.run(recipe | {"out": str(tmp_path / "whole")})
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(post_training, "build_trainer", doomed)
            post_training.run(recipe | {"out": str(tmp_path / "cut")})
        assert (tmp_path / "cut.partial" / "resume" / "checkpoint-2").is_dir()
        assert post_training.run(recipe | {"out": str(tmp_path / "cut")}).equals(whole)
    ends = [load_file(tmp_path / run / "checkpoint" / "model.safetensors") for run in ("whole", "cut")]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.slow
def test_notebook_and_command_line_do_the_same(folder, tmp_path):
    recipe = tiny.RECIPES / "small_rl.yaml"
    own = tiny.at_tiny_size("small_rl", {}, folder)
    changes = {name: own[name] for name in ("model", "data", "steps", "max_completion", "save_every", "trainer")}
    asked = [word for name, value in changes.items() for word in ("-p", name, yaml.safe_dump(value).split("\n...")[0])]
    assert main(["train", str(recipe), *asked, "--out", str(tmp_path / "command")]) == 0
    command = papermill("runs/train", tmp_path / "copy.ipynb", **changes, out=tmp_path / "notebook")
    done = run([*command, "-f", str(recipe)])  # of which the parameters have the last word
    assert done.returncode == 0, done.stderr[-2000:]
    logs = [pd.read_csv(tmp_path / kind / "log.csv") for kind in ("command", "notebook")]
    assert logs[0].equals(logs[1])
    for kind in ("command", "notebook"):
        manifest = runs.read_manifest(tmp_path / kind, "train")
        digest = hashlib.sha256(Path(own["data"]).read_bytes()).hexdigest()[:16]
        assert manifest["data"] == {own["data"]: f"sha256 {digest}"}
        assert manifest["removed"] == {"empty": 0, "repeated": 0}


# --- what the recipes say


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_value_says_where_it_comes_from(path):
    """Each value has a comment beside it or right above it, or the block that it is in has one."""
    covered, above = False, ""
    for line in path.read_text().splitlines():
        says = "#" in line or above.startswith("#")
        if re.match(r"\w", line):
            covered = says and line.split("#")[0].rstrip().endswith(":")
            assert says or line.endswith(":"), line
        elif re.match(r"  \w", line):
            assert says or covered, line
        above = line.strip()


def test_the_study_has_the_papers_values():
    printed = reported.table("recipe_reported").set_index("setting")
    rl, sft = (yaml.safe_load((tiny.RECIPES / f"study_{kind}.yaml").read_text()) for kind in ("rl", "sft"))
    said = printed["rl"]
    assert rl["model"] == sft["model"] == f"Qwen/{said['base model']}"
    assert rl["learning_rate"] == float(said["learning rate"])
    assert rl["group_size"] == int(said["rollouts per prompt"])
    assert rl["trainer"]["generation_batch_size"] == int(said["train batch size"]) * rl["group_size"]
    assert rl["batch_size"] == int(said["mini-batch size"]) * rl["group_size"]
    assert [rl["trainer"][name] for name in ("epsilon", "epsilon_high")] == [
        float(bound) for bound in said["clip range"].split(" to ")
    ]
    assert SETTINGS[rl["setting"]].kl == float(said["KL coefficient"])
    assert rl["trainer"].get("entropy_coef", 0.0) == float(said["entropy coefficient"])
    updates = rl["trainer"]["generation_batch_size"] // rl["batch_size"]
    assert rl["steps"] / updates == int(said["steps / epochs"].split()[0])
    assert rl["prompt"]["max_tokens"] + rl["max_completion"] == 16 * 1024
    said = printed["sft"]
    assert sft["learning_rate"] == float(said["learning rate"])
    assert sft["batch_size"] == int(said["train batch size"])
    assert sft["trainer"]["num_train_epochs"] == float(said["steps / epochs"].split()[0])


def test_recipe_paper_and_authors_side_by_side():
    table = recipes.beside_the_paper(tiny.RECIPES, "rl")
    shared = ["base model", "learning rate", "train batch size", "rollouts per prompt", "KL coefficient"]
    ours = [*shared, "mini-batch size", "clip range", "steps / epochs"]
    assert table.loc[ours, "here"].tolist() == table.loc[ours, "paper"].tolist()
    assert table.loc["mini-batch size"].tolist() == ["128", "32", "128"]
    assert table.loc["overlong penalty", "here"] == table.loc["overlong penalty", "paper"] == ""
    table = recipes.beside_the_paper(tiny.RECIPES, "sft")
    assert table.loc["steps / epochs"].tolist() == ["1.5 epochs", "2.0 epochs", "1.5 epochs"]
    assert "mini-batch size" not in table.index


def test_the_ablation_is_on_policy_throughout():
    """One update a round and one set of values for all settings, so that only q, w and beta differ."""
    ablation = yaml.safe_load((tiny.RECIPES / "ablation.yaml").read_text())
    assert "generation_batch_size" not in ablation["trainer"]
    assert {name for name in CASES if name.startswith("ablation")} == {f"ablation: {name}" for name in SETTINGS}


def test_every_recipe_divides_among_the_gpus_that_it_is_laid_out_for():
    """Into whole passes, and a round into whole groups, whatever share of it a process has."""
    for name, layout in yaml.safe_load((tiny.CONFIG / "estimates.yaml").read_text())["recipes"].items():
        recipe = recipes.read_recipe(tiny.RECIPES / f"{layout.get('recipe', name)}.yaml")
        division = post_training._passes(recipe, SETTINGS[recipe["setting"]], layout["gpus"])
        assert division["per_device_train_batch_size"] == recipe["trainer"]["per_device_train_batch_size"]
        assert np.prod(list(division.values())) * layout["gpus"] == recipe["batch_size"]


def test_zero3_is_read_by_accelerate():
    config = load_config_from_file(str(tiny.ACCELERATE / "zero3.yaml"))
    assert config.distributed_type == "DEEPSPEED" and config.deepspeed_config["zero_stage"] == 3


# --- the trainer


def build(folder, tmp_path, recipe: str = "small_rl") -> objective.ObjectiveTrainer:
    own = tiny.at_tiny_size(recipe, {}, folder)
    found = problems.read_problems(own["data"], None)
    tokenizer = post_training.load_tokenizer(own)
    rows, teacher = problems.training_rows(found, tokenizer, own["prompt"], own["max_completion"])
    return post_training.build_trainer(own, tokenizer, rows, teacher, lambda *_: True, tmp_path)


def test_updates_of_a_round_hold_whole_groups(folder, tmp_path):
    """And all of the round's responses between them, each once."""
    trainer = build(folder, tmp_path)
    trainer.model.train()
    asked = next(iter(trainer.get_train_dataloader()))
    seen = []
    for step in range(trainer.args.steps_per_generation):
        trainer._step = step
        seen.append(trainer._prepare_inputs(asked)["prompt_ids"])
    size = trainer.args.gradient_accumulation_steps
    updates = [torch.cat(seen[start : start + size]) for start in range(0, len(seen), size)]
    assert len(updates) == 2
    prompts = [torch.unique(update, dim=0, return_counts=True) for update in updates]
    assert all((counts == trainer.num_generations).all() for _, counts in prompts)
    together = torch.unique(torch.cat([rows for rows, _ in prompts]), dim=0)
    assert len(together) == sum(len(rows) for rows, _ in prompts) == len({row["prompt"] for row in asked})


def test_processes_do_not_draw_the_same_random_numbers():
    drawn = []
    for step, process in ((0, 0), (0, 1), (1, 0), (0, 0)):
        state, args = SimpleNamespace(global_step=step), SimpleNamespace(process_index=process)
        objective.StepCallback(seed=7).on_step_begin(args, state, None)
        drawn.append(torch.rand(4).tolist())
    assert drawn[0] == drawn[3]
    assert drawn[0] != drawn[1] and drawn[0] != drawn[2] and drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("gpu", "bfloat16", "expected"), [(False, False, "no"), (True, True, "bf16"), (True, False, "fp16")]
)
def test_precision_is_what_the_device_has(monkeypatch, gpu, bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16 or including_emulation)
    assert post_training._autocast_dtype() == expected


def test_the_schedule_is_the_recipes(folder, tmp_path):
    """A cosine after a linear warm-up over a tenth of the updates, by its formula."""
    trainer = build(folder, tmp_path, "study_sft")
    trainer.create_optimizer_and_scheduler(40)
    rates = []
    for _ in range(40):
        rates.append(trainer.lr_scheduler.get_last_lr()[0])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    expected = [step / 4 if step < 4 else (1 + math.cos(math.pi * (step - 4) / 36)) / 2 for step in range(40)]
    assert rates == pytest.approx([5e-5 * share for share in expected])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": {"warmup_ratio": 0.1}}, "unknown trainer option warmup_ratio: TRL's GRPOConfig has no such field"),
        ({"trainer": {"beta": 0.1}}, "trainer option beta is set by setting"),
        ({"trainer": {"generation_batch_size": 100}}, "no multiple of batch_size 128"),
        ({"trainer": {"per_device_train_batch_size": 48}}, "no multiple of 48 responses on 1 processes"),
        ({"save_every": 3}, "no multiple of the 2 updates"),
        ({"group_size": 1}, "leaves nothing to compare"),
        ({"batch_size": 100, "trainer": {}}, "no multiple of group_size 8"),
    ],
)
def test_what_cannot_be_trained_is_refused(folder, tmp_path, changes, message):
    own = tiny.at_tiny_size("small_rl", {}, folder)
    whole = own | changes | {"trainer": own["trainer"] | changes.get("trainer", {})}
    if changes.get("trainer") == {}:
        whole["trainer"] = {}
    with pytest.raises(ValueError, match=re.escape(message)):
        post_training.run(whole | {"out": str(tmp_path / "run")})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["-p", "epochs", "2"], "unknown recipe entry epochs: expected model, setting"),
        (["-p", "setting", "PPO"], "unknown setting 'PPO'"),
        (["-p", "prompt", "{system: hello}"], "unknown prompt entry system"),
        (["-p", "data", "none.parquet"], "no file none.parquet"),
        (["-p", "model", "miniature", "-p", "prompt", "{}"], "the tokenizer has no chat template"),
        (["-p", "prompt", "{end_of_turn: <|im_edn|>}"], "end_of_turn '<|im_edn|>' is no token of "),
        (["-p", "prompt", "{end_of_turn: <|im_edn|>}"], "the tokenizer's own end, '<|endoftext|>'"),
        (["-p", "lora", "{rank: 3}"], "rank"),
    ],
)
def test_the_command_line_says_in_one_sentence_what_is_wrong(folder, tmp_path, capsys, changes, message):
    own = ["-p", "model", str(folder / "base"), "-p", "data", str(folder / "problems.jsonl"), "-p", "trainer", "{}"]
    asked = ["train", str(tiny.RECIPES / "small_rl.yaml"), *own, *changes, "--out", str(tmp_path / "run")]
    assert main(asked) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (tmp_path / "run").exists()
    assert main(["train", "none.yaml", "--out", str(tmp_path / "run")]) == 2
