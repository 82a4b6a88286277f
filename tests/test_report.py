"""The report card: any two checkpoints, checked with plain torch and numpy; what cannot be compared is refused."""

import copy
import functools
import gc
import json
import math
import re
import shutil
import sys
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run
from safetensors.torch import save_file
from scipy import stats
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mathtransfer import GROUPS, report
from mathtransfer.__main__ import main
from mathtransfer.benchmarks import evaluate, questions
from mathtransfer.models import checkpoints, engines
from mathtransfer.pages import charts

FILES = {"report.html", "report.json", "tokens.parquet", "layers.csv", "manifest.json", "identity.json"}
PROMPTS = [f"the sum of {i} and {7 - i} is" for i in range(9)]
HOSTILE = [
    "</title></script><img src=x onerror=window.broken=1>",
    "<!--<script>",
    "${1}",
    "\\boxed{0}{y}",
    "'\">&lt;",
    "\u2028",
]
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


# --- two checkpoints that have nothing to do with the miniature world


def byte_level(text: str = "so the sum of 12 and 3 is 15 , thus we know .") -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def random_model(vocabulary: int, kind: str = "Qwen3", tied: bool = True):
    configuration, model = {"Qwen3": (Qwen3Config, Qwen3ForCausalLM), "Llama": (LlamaConfig, LlamaForCausalLM)}[kind]
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "eos_token_id": 0, "initializer_range": 0.3}
    torch.manual_seed(0)
    return model(configuration(vocab_size=vocabulary, tie_word_embeddings=tied, **sizes, **heads))


def tune(model, part: float = 0.1):
    """A copy with noise on it."""
    tuned = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(part * parameter.abs().mean() * torch.randn_like(parameter))
    return tuned


def save(folder, model, tokenizer, **options) -> str:
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[str, str]:
    """A base and a tuned model with its tokenizer."""
    folder, tokenizer = tmp_path_factory.mktemp("pair"), byte_level()
    base = random_model(len(tokenizer))
    return save(folder / "base", base, tokenizer), save(folder / "tuned", tune(base), tokenizer)


@pytest.fixture
def prompts(tmp_path) -> str:
    return written(tmp_path / "prompts.txt", PROMPTS)


def written(path, lines: list[str]) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def one_bundle():
    """Vega is bundled once for all pages of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "vega_bundle", functools.cache(charts.vega_bundle))
        yield


def make(base, tuned, prompts, out, *more: str, tokens: int = 24) -> dict:
    asked = ["report", str(base), str(tuned), "--prompts", prompts, "--out", str(out), "--max-tokens", str(tokens)]
    assert main([*asked, *more]) == 0
    return read(out)


def read(folder) -> dict:
    """The report's data, once what holds for every report was seen to hold."""
    assert {path.name for path in folder.iterdir()} == FILES
    text = (folder / "report.json").read_text(encoding="utf-8")
    data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    for finding in data["findings"]:
        value, low, high, sentence = (finding[name] for name in ("value", "low", "high", "sentence"))
        assert not re.search(r"\b(nan|inf|None)\b", sentence)
        if value is None or "could be anything" in sentence:
            assert "could be" in sentence or "has no value: " in sentence
            assert low is None and high is None
            continue
        said = [float(number.replace(",", "")) for number in NUMBER.findall(sentence)]
        rounding = {"transferability index": 0.5, "gain": 0.05}.get(finding["measure"], 0)
        assert any(number == pytest.approx(value, rel=5e-3, abs=rounding) for number in said)
        if finding["topic"] == "weights" or "[no interval from one prompt]" in sentence:
            assert low is None and high is None
        else:
            assert low <= value <= high
    return data


@pytest.fixture(scope="module")
def made(pair, tmp_path_factory):
    """One report of the pair on all prompts, for the tests that ask no other."""
    folder = tmp_path_factory.mktemp("made")
    make(*pair, written(folder / "prompts.txt", PROMPTS), folder / "out")
    return folder / "out"


def values(data: dict) -> dict[tuple[str, str], float]:
    return {(finding["group"], finding["measure"]): finding["value"] for finding in data["findings"]}


def sentences(data: dict) -> str:
    return "\n".join(finding["sentence"] for finding in data["findings"])


# --- what it says


@pytest.mark.slow
def test_the_command_line_on_the_miniature(base, tmp_path):
    tuned = save(tmp_path / "tuned", tune(base[0], 0.3), base[1])
    command = [sys.executable, "-m", "mathtransfer", "report", "miniature", tuned, "--suite", "miniature", "--n", "3"]
    done = run([*command, "--scores", "--out", str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr
    data = read(tmp_path / "out")
    for finding in data["findings"]:
        assert f"- {finding['sentence']}\n" in done.stdout
    assert {finding["topic"] for finding in data["findings"]} == {"weights", "tokens", "hidden states", "scores"}
    assert {finding["group"] for finding in data["findings"]} == {"all", *GROUPS}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["notebook"] == "report" and manifest["parameters"]["tuned"] == tuned

    engine = engines.Transformers(*base)
    tasks = questions.tasks("miniature", list(GROUPS), questions.Selection(n=3), base[1], engine.budget)
    scores, _ = evaluate.evaluate(engine, tasks, seed=0, folder=tmp_path / "completions")
    scores = scores[scores["metric"] == "accuracy"]
    gains = pd.DataFrame(data["gains"]).set_index("benchmark")
    assert gains["base_score"].to_dict() == pytest.approx(scores.set_index("benchmark")["value"].to_dict())
    assert (gains["tuned_score"] - gains["base_score"]).tolist() == pytest.approx(gains["gain"].tolist())
    by_group = gains.groupby("group")["gain"].mean()
    assert by_group.min() < 0
    assert {group: values(data)[group, "gain"] for group in GROUPS} == pytest.approx(by_group.to_dict())


@pytest.mark.parametrize(("kind", "tied"), [("Qwen3", True), ("Llama", False)])
def test_findings_by_torch_and_numpy(tmp_path, prompts, kind, tied):
    """From one file to the page: neither the models nor the prompts change places on the way."""
    tokenizer = byte_level()
    base = random_model(len(tokenizer), kind, tied)
    tuned = tune(base)
    with torch.no_grad():
        base.model.norm.weight[:4] = tuned.model.norm.weight[:4]
    folders = save(tmp_path / "base", base, tokenizer), save(tmp_path / "tuned", tuned, tokenizer)
    data = make(*folders, prompts, tmp_path / "out")
    found, group = values(data), report._EVERYTHING

    before, after = (torch.cat([p.detach().flatten() for p in model.parameters()]).double() for model in (base, tuned))
    assert found["all", "changed weights"] == pytest.approx(100 * (before != after).double().mean().item())
    assert found["all", "changed weights"] < 100
    update = (after - before).norm() / before.norm()
    assert found["all", "relative update"] == pytest.approx(100 * update.item(), rel=1e-6)

    table = pd.read_parquet(tmp_path / "out" / "tokens.parquet")
    ids, states = [tokenizer(prompt).input_ids for prompt in PROMPTS], []
    with torch.no_grad():
        for prompt, (_, completion) in zip(ids, table.groupby("text")["token"], strict=True):
            text = torch.tensor([prompt + completion.tolist()])
            p, q = (model(text).logits[0, len(prompt) - 1 : -1].softmax(-1).numpy() for model in (tuned, base))
            table.loc[completion.index, "expected"] = stats.entropy(p, q, axis=1)
        for model in (base, tuned):
            outputs = [model(torch.tensor([prompt]), output_hidden_states=True).hidden_states for prompt in ids]
            states.append([np.stack([layer[0].mean(0) for layer in text]).astype(float) for text in outputs])
    assert table["kl"].tolist() == pytest.approx(table["expected"].tolist(), abs=1e-4)
    assert found[group, "kl"] == pytest.approx(table["expected"].mean(), rel=1e-3)
    assert found[group, "shifted"] == pytest.approx(100 * (table["rank_tuned"] != table["rank_base"]).mean())

    shifts = []
    for one, other in zip(*np.array(states).transpose(0, 2, 1, 3), strict=True):  # (texts, hidden), layer by layer
        _, spread, axes = np.linalg.svd(one - one.mean(0), full_matrices=False)
        deviations = spread[:2] / np.sqrt(len(PROMPTS) - 1)
        shifts.append(np.linalg.norm(axes[:2] @ (other.mean(0) - one.mean(0)) / deviations))
    assert found[group, "centroid_shift"] == pytest.approx(np.mean(shifts), rel=1e-3)
    assert f"most in layer {np.argmax(shifts)}." in sentences(data)
    assert 0 < found[group, "cka"] < 1


def test_groups_of_prompts(tmp_path, pair, made):
    """A small group is compared token by token, but not by its hidden states; the page says so."""
    lines = ["thus", "", "# mine", *PROMPTS[:5], "# {short} 100%", "we know", "so", "# mine", *PROMPTS[5:]]
    data = make(*pair, written(tmp_path / "prompts.txt", lines), tmp_path / "out")
    found = values(data)
    assert {group for group, measure in found if measure == "kl"} == {"all prompts", "mine", "{short} 100%"}
    assert {group for group, measure in found if measure == "cka"} == {"mine"}
    assert data["left_out"] == [
        "hidden states on all prompts, which need at least 8 prompts (1 found)",
        "hidden states on {short} 100%, which need at least 8 prompts (2 found)",
    ]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(f"Left out: {reason}." in page for reason in data["left_out"])
    assert sentences(data).count("[no interval from one prompt]") == 2
    assert "On {short} 100%, the tuned model" in page
    for measure in ("centroid_shift", "cka"):
        assert found["mine", measure] == pytest.approx(values(read(made))["all prompts", measure], rel=1e-5)


def test_a_single_prompt_has_no_intervals(tmp_path, pair):
    data = make(*pair, written(tmp_path / "prompts.txt", ["the sum"]), tmp_path / "out")
    others = [finding for finding in data["findings"] if finding["topic"] != "weights"]
    assert others and all(" [no interval from one prompt] " in finding["sentence"] for finding in others)
    assert data["left_out"] == ["hidden states on all prompts, which need at least 8 prompts (1 found)"]


def test_prompts_that_are_alike_have_no_hidden_states_to_compare(tmp_path, pair):
    data = make(*pair, written(tmp_path / "prompts.txt", ["the sum"] * 9), tmp_path / "out")
    assert data["left_out"] == ["hidden states on all prompts, whose prompts are too much alike"]


def test_text_that_only_repeats_itself(tmp_path):
    tokenizer = byte_level()
    base = random_model(len(tokenizer), tied=False)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        tuned.model.embed_tokens.weight[:] = 1.0  # whatever comes, the same follows
        tuned.lm_head.weight.mul_(1000)
    folders = save(tmp_path / "base", base, tokenizer), save(tmp_path / "tuned", tuned, tokenizer)
    data = make(*folders, written(tmp_path / "prompts.txt", PROMPTS[:3]), tmp_path / "out", tokens=30)
    assert values(data)["all", "looping"] == 100
    assert values(data)["all prompts", "kl"] > math.log(20) and "after about 1 token." in sentences(data)


def test_a_model_against_itself(tmp_path, pair, prompts):
    data = make(pair[0], pair[0], prompts, tmp_path / "out")
    assert values(data) == {
        ("all", "changed weights"): 0,
        ("all", "relative update"): 0,
        ("all prompts", "kl"): 0,
        ("all prompts", "shifted"): 0,
        ("all prompts", "centroid_shift"): 0,
        ("all prompts", "cka"): pytest.approx(1, abs=1e-9),
    }
    said = sentences(data)
    assert "cannot tell from a million tokens which one writes" in said
    assert "most" not in said  # nothing did
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '"No weight changed"' in page and '"No token moved"' in page


def test_one_by_one_finds_the_same(tmp_path, pair, prompts, made, monkeypatch):
    """And no model is there when another is loaded."""
    given, alive, load = [], [], checkpoints.load_model

    def watched(name):
        gc.collect()
        alive.append(sum(reference() is not None for reference in given))
        model = load(name)
        given.append(weakref.ref(model))
        return model

    monkeypatch.setattr(checkpoints, "load_model", watched)
    gc.freeze()  # what the libraries hold need not be looked through each time
    single = make(*pair, prompts, tmp_path / "single", "--one-by-one")
    gc.unfreeze()
    assert alive == [0] * 5
    for one, other in zip(read(made)["findings"], single["findings"], strict=True):
        numbers = ([finding.pop(name) for name in ("value", "low", "high")] for finding in (one, other))
        np.testing.assert_allclose(*(np.array(own, dtype=float) for own in numbers), rtol=1e-4, atol=1e-4)
        assert one.pop("sentence") and other.pop("sentence") and one == other


def test_shards_make_no_difference(tmp_path, pair, prompts, made):
    model = AutoModelForCausalLM.from_pretrained(pair[1])
    shards = save(tmp_path / "shards", model, byte_level(), max_shard_size="4KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    assert make(pair[0], shards, prompts, tmp_path / "out")["findings"] == read(made)["findings"]


def test_an_output_projection_that_was_untied(tmp_path, prompts):
    """The base reads out with its embedding: against that the tuned model's own projection counts."""
    tokenizer = byte_level()
    base, tuned = random_model(len(tokenizer)), random_model(len(tokenizer), tied=False)
    tuned.load_state_dict(base.state_dict())
    with torch.no_grad():
        tuned.lm_head.weight.copy_(1.5 * base.model.embed_tokens.weight)
    folders = save(tmp_path / "base", base, tokenizer), save(tmp_path / "tuned", tuned, tokenizer)
    data = make(*folders, prompts, tmp_path / "out")
    size, head = sum(p.numel() for p in tuned.parameters()), tuned.lm_head.weight.numel()
    assert values(data)["all", "changed weights"] == pytest.approx(100 * head / size)
    assert f"of the {size:,} weights" in sentences(data)
    assert "the kind output projection changed most (50%)" in sentences(data)
    assert values(data)["all prompts", "kl"] > 1e-3 and values(data)["all prompts", "centroid_shift"] == 0


def test_padded_embeddings_are_compared_where_the_sizes_agree(tmp_path, prompts, capsys, pair):
    tokenizer = byte_level()
    base = random_model(len(tokenizer) + 12)
    folders = save(tmp_path / "base", base, tokenizer), save(tmp_path / "tuned", tune(base), tokenizer)
    make(*folders, prompts, tmp_path / "out", tokens=60)
    assert pd.read_parquet(tmp_path / "out" / "tokens.parquet")["token"].max() >= len(tokenizer)
    message = r"base and tuned model differ in shape \(model\.embed_tokens\.weight .* its vocabulary size"
    refused(capsys, tmp_path, message, pair[0], folders[1], "--prompts", prompts)


def test_the_chat_template(tmp_path, pair, prompts, made, capsys):
    """What it makes of the prompts is what would come of writing it around them."""
    message = "the tokenizer has no chat template"
    refused(capsys, tmp_path, message, *pair, "--prompts", prompts, "--chat")
    tuned = shutil.copytree(pair[1], tmp_path / "tuned")
    template = "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}!{% endfor %}"
    (tuned / "chat_template.jinja").write_text(template + "{% if add_generation_prompt %} reply:{% endif %}")
    around = written(tmp_path / "around.txt", [f"user: {prompt}! reply:" for prompt in PROMPTS])
    make(pair[0], tuned, prompts, tmp_path / "chat", "--chat")
    make(pair[0], tuned, around, tmp_path / "around")
    folders = (tmp_path / "chat", tmp_path / "around", made)
    chat, around, plain = (pd.read_parquet(folder / "tokens.parquet") for folder in folders)
    pd.testing.assert_frame_equal(chat, around)
    assert chat["token"].tolist() != plain["token"].tolist()
    chat, around, plain = (pd.read_csv(folder / "layers.csv") for folder in folders)
    pd.testing.assert_frame_equal(chat, around)
    assert not np.allclose(chat["value"], plain["value"])


def test_scores_are_asked_as_the_rest_is(base, tmp_path, monkeypatch):
    """In the chat template, as many questions of each task as were asked for, and in batches of the same size."""
    tuned = save(tmp_path / "tuned", base[0], base[1])
    (tmp_path / "tuned" / "chat_template.jinja").write_text("{{ messages[0]['content'] }} reply")
    asked = []

    def refuse(engine, tasks, **_):
        asked.append((engine.batch_size, {len({r.question for r in task.requests}) for task in tasks}, tasks))
        raise InterruptedError

    monkeypatch.setattr(report, "evaluate", refuse)
    with pytest.raises(InterruptedError):
        report._scores("miniature", tuned, "miniature", 3, batch_size=5, chat=True, max_tokens=4)
    ((batch_size, questions_each, tasks),) = asked
    assert batch_size == 5 and questions_each == {3}
    assert all(request.prompt.endswith(" reply") for task in tasks for request in task.requests)


def test_values_of_questions_have_the_score_as_their_mean_and_its_error_as_theirs():
    """Three tasks of different sizes that number their questions alike; and prompts of one to three instructions."""
    rng = np.random.default_rng(0)
    samples = pd.concat(
        [
            *(
                pd.DataFrame({"benchmark": "x", "task": name, "question": range(n), "asked": 1, "score": scores})
                for name, n in {"a": 60, "b": 40, "c": 20}.items()
                for scores in (rng.binomial(1, rng.uniform(0.2, 0.9, n)).astype(float),)
            ),
            pd.DataFrame(
                {"benchmark": "y", "task": "y", "question": range(200), "asked": rng.integers(1, 4, 200)}
            ).assign(score=lambda own: rng.binomial(own["asked"], 0.6) / own["asked"]),
        ],
        ignore_index=True,
    ).assign(group="other", published_score=0.0, status="wrong answer", finished=True)
    table = evaluate._scores(samples).query("metric == 'accuracy'").set_index("benchmark")
    found = report._answers(samples, table["value"])
    assert not found.duplicated(["benchmark", "question"]).any() and len(found) == len(samples)
    values = found.groupby("benchmark")["value"]
    assert values.mean().to_dict() == pytest.approx(table["value"].to_dict())
    assert values.sem().to_dict() == pytest.approx(table["stderr"].to_dict(), rel=0.02)
    plain = samples[samples["benchmark"] == "y"].assign(asked=1)
    scores = pd.Series({"y": 100 * plain["score"].mean()})
    assert report._answers(plain, scores)["value"].tolist() == pytest.approx((100 * plain["score"]).tolist())


def test_reading_prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff# one\r\n a \r\n\r\n#tag\r\n#  two words \r\nb\u2028c\r\n# none\r\n# one\r\nd".encode())
    assert report._read_prompts(path).values.tolist() == [
        ["one", "a"], ["one", "#tag"], ["two words", "b\u2028c"], ["one", "d"],
    ]  # fmt: skip
    path.write_text("a\n# one\nb")
    assert report._read_prompts(path)["group"].tolist() == ["all prompts", "one"]


# --- what it refuses


def tree(folder) -> dict:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(capsys, folder, message: str, *asked: str, out: str = "out") -> None:
    """One sentence, and the folder is as it was."""
    before = tree(folder)
    capsys.readouterr()
    assert main(["report", *map(str, asked), "--out", f"{folder}/{out}"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(f"error: .*{message}.*\n", said), said
    assert tree(folder) == before


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "broken has no weights: expected"),
        ("config.json", "broken is no checkpoint: it has no config.json"),
        ("tokenizer*", "broken has no tokenizer: copy"),
        ("*", "broken is no checkpoint"),
        ("", "no model folder '.*broken'"),
    ],
)
def test_a_checkpoint_that_is_not_whole(tmp_path, pair, prompts, capsys, which, missing, message):
    broken = tmp_path / "broken"
    if missing:
        shutil.copytree(pair[which], broken)
        for path in broken.glob(missing):
            path.unlink()
    asked = [*pair]
    asked[which] = broken
    refused(capsys, tmp_path, message, *asked, "--prompts", prompts)


def test_a_missing_shard(tmp_path, pair, prompts, capsys):
    shards = save(tmp_path / "shards", random_model(len(byte_level())), byte_level(), max_shard_size="4KB")
    (tmp_path / "shards" / "model-00002-of-00006.safetensors").unlink()
    refused(capsys, tmp_path, "shards lacks model-00002-of-00006.safetensors", pair[0], shards, "--prompts", prompts)


def test_another_tokenizer(tmp_path, pair, prompts, capsys):
    tokenizer = byte_level("other words are joined to other tokens")
    other = save(tmp_path / "other", random_model(len(tokenizer)), tokenizer)
    refused(capsys, tmp_path, "different vocabularies", pair[0], other, "--prompts", prompts)


def test_an_adapter(tmp_path, pair, prompts, capsys):
    adapter = tmp_path / "adapter"
    byte_level().save_pretrained(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": pair[0], "peft_type": "LORA"}))
    save_file({"q_proj.lora_A.weight": torch.ones(2)}, adapter / "adapter_model.safetensors")
    message = "adapter is an adapter without the model's weights: merge it into its base"
    refused(capsys, tmp_path, message, pair[0], adapter, "--prompts", prompts)
    shutil.copy(f"{pair[0]}/config.json", adapter)
    refused(capsys, tmp_path, message, pair[0], adapter, "--prompts", prompts)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_training_that_diverged(tmp_path, pair, prompts, capsys, number):
    model = AutoModelForCausalLM.from_pretrained(pair[1])
    model.model.layers[1].mlp.up_proj.weight.data[3, 2] = number
    diverged = save(tmp_path / "diverged", model, byte_level())
    message = r"not finite in model\.layers\.1\.mlp\.up_proj\.weight \(1 tensors"
    refused(capsys, tmp_path, message, pair[0], diverged, "--prompts", prompts)


def test_a_hub_id_out_of_reach(tmp_path, pair, prompts, capsys):
    message = "the hub cannot be reached and the model owner/nothing is not in the local cache"
    refused(capsys, tmp_path, message, "owner/nothing", pair[1], "--prompts", prompts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no prompt: write one a line"),
        (b" \n\n\t\n", "holds no prompt"),
        (b"# a group\n", "holds no prompt"),
        (b"caf\xe9", "is not in UTF-8"),
        (None, "no file of prompts"),
    ],
)
def test_a_file_without_prompts(tmp_path, pair, capsys, content, message):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    refused(capsys, tmp_path, message, *pair, "--prompts", path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "name either a suite or a text file of prompts"),
        (["--prompts", "FILE", "--suite", "miniature"], "name either a suite or a text file of prompts"),
        (["--prompts", "FILE", "--scores"], "scores need a suite"),
        (["--scores"], "scores need a suite"),
        (["--suite", "nothing"], "unknown suite 'nothing': expected one of .*miniature"),
    ],
)
def test_requests_that_do_not_fit_together(tmp_path, pair, prompts, capsys, asked, message):
    refused(capsys, tmp_path, message, *pair, *(prompts if word == "FILE" else word for word in asked))


@pytest.mark.parametrize("option", ["--n", "--max-tokens", "--batch-size"])
def test_numbers_below_one(tmp_path, pair, prompts, capsys, option):
    with pytest.raises(SystemExit) as left:
        main(["report", *pair, "--prompts", prompts, "--out", f"{tmp_path}/out", option, "0"])
    assert left.value.code == 2 and f"argument {option}: 0 is less than 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (["out/thesis.tex"], "out holds thesis.tex, which no run wrote there"),
        (["out/manifest.json", "out/report.html"], "out holds manifest.json, which no run wrote there"),
        (["out"], "out is a file"),
        (["out.partial/thesis.tex"], "out.partial holds thesis.tex"),
    ],
)
def test_what_others_wrote_is_left_alone(tmp_path, pair, prompts, capsys, there, message):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    refused(capsys, tmp_path, message, *pair, "--prompts", prompts)


def test_a_report_is_replaced_once_the_next_is_whole(tmp_path, pair, prompts, made, capsys):
    """Also with the slash that a shell puts behind a folder's name; and not if somebody keeps a file in it."""
    first = read(shutil.copytree(made, tmp_path / "out"))
    (tmp_path / "out" / "notes").write_text("mine")
    refused(capsys, tmp_path, "out holds notes, which no run wrote there", *pair, "--prompts", prompts)
    (tmp_path / "out" / "notes").unlink()
    refused(capsys, tmp_path, "no file of prompts", *pair, "--prompts", tmp_path / "nothing")
    refused(capsys, tmp_path, "no chat template", *pair, "--prompts", prompts, "--chat")
    asked = ["report", pair[0], pair[0], "--prompts", prompts, "--max-tokens", "8", "--out", f"{tmp_path}/out/"]
    assert main(asked) == 0
    assert values(read(tmp_path / "out"))["all", "changed weights"] == 0 < values(first)["all", "changed weights"]
    assert not (tmp_path / "out.partial").exists()


# --- the page


def headings(page) -> list[str]:
    return page.locator("h2").all_inner_texts()


def test_the_page_needs_no_network(made, open_offline):
    data, page = read(made), open_offline(made / "report.html")
    page.locator(".vega-embed svg").nth(4).wait_for()
    assert page.locator(".vega-embed svg").count() == page.locator(".chart").count() == 5
    for chart in page.locator(".vega-embed svg").all():
        assert chart.locator(".mark-rect path, .mark-line path, .mark-area path").count() > 1
    assert page.locator(".token-strip [role=option]").count() > 5
    assert page.locator("li").all_inner_texts()[: len(data["findings"])] == [
        finding["sentence"] for finding in data["findings"]
    ]
    assert headings(page)[:3] == ["Weights", "Tokens", "Hidden states"] and len(headings(page)) == 9
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 380  # wide charts scroll for themselves


def test_hostile_names_and_texts(tmp_path, open_offline):
    words = dict.fromkeys([*HOSTILE, *(f"w{i}" for i in range(9)), "<eos>", "<unk>"])
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("|", "removed")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")
    base = random_model(len(words), tied=False)
    base.config.eos_token_id = base.generation_config.eos_token_id = None
    place = tmp_path / HOSTILE[0]  # with the slash in it a folder in another
    folders = save(place / "base", base, tokenizer), save(place / "tuned", tune(base, 0.5), tokenizer)
    lines = [line for group in HOSTILE[:4] for line in (f"# {group}", *[f"w1|{HOSTILE[1]}|w{i}" for i in range(3)])]
    data = make(*folders, written(tmp_path / "prompts.txt", [*lines, *(f"# {HOSTILE[0]}", *HOSTILE)]), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "tokens.parquet")
    assert set(HOSTILE) <= {piece.strip(" ") for piece in table["piece"]}

    page = open_offline(tmp_path / "out" / "report.html")
    page.locator(".vega-embed svg").nth(4).wait_for()
    assert page.locator("img").count() == 0
    assert folders[0] in page.locator("h1").inner_text() and page.title() == folders[1]
    assert page.locator("li").all_inner_texts()[: len(data["findings"])] == [
        finding["sentence"] for finding in data["findings"]
    ]
    assert f"On {HOSTILE[0]}, the tuned" in page.locator("body").inner_text()
