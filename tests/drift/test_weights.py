"""Weight changes against numpy and torch on whole tensors, in every way that a checkpoint can be stored."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tiny import qwen3

from mathtransfer.drift import summaries, weights
from mathtransfer.models import checkpoints

EMBEDDING = "model.embed_tokens.weight"


def tensors(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """A small decoder of two layers without an output projection."""
    torch.manual_seed(seed)
    shapes = {EMBEDDING: (11, 4), "model.norm.weight": (4,)}
    for layer in range(2):
        shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] = (6, 4)
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (4, 9)
    return {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}


def save(folder, stored: dict[str, torch.Tensor], shards: int = 1, **config):
    """A checkpoint folder in one file, or with its tensors dealt to several shards."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(stored, folder / "model.safetensors")
        return str(folder)
    files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    of_tensor = {name: files[i % shards] for i, name in enumerate(stored)}
    for file in files:
        save_file({name: stored[name] for name in stored if of_tensor[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": of_tensor}))
    return str(folder)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest bfloat16, ties to even: the upper half of the bits."""
    bits = values.astype(np.float32).view(np.uint32)
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


def brute_force(before: torch.Tensor, after: torch.Tensor) -> list[float]:
    a, b = before.float().numpy(), after.float().numpy()
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    changed, rounded = (a != b).sum(), (bfloat16(a) != bfloat16(b)).sum()
    return [a.size, changed, rounded, (a64**2).sum(), ((b64 - a64) ** 2).sum()]


def test_counts_and_sums_by_numpy(tmp_path):
    base = tensors()
    tuned = {name: tensor.clone() for name, tensor in base.items()}
    tuned[EMBEDDING][3] += 0.5
    tuned["model.layers.1.mlp.down_proj.weight"].view(-1)[::5] *= 1 + 1e-4
    changes = weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    for _, row in changes.iterrows():
        expected = brute_force(base[row["tensor"]], tuned[row["tensor"]])
        assert row[summaries.SUMS].tolist() == pytest.approx(expected, rel=1e-12)
    by_name = changes.set_index("tensor")["changed"]
    assert by_name[by_name > 0].to_dict() == {EMBEDDING: 4, "model.layers.1.mlp.down_proj.weight": 8}
    assert changes["layer"].tolist() == [-1, -1, 0, 0, 1, 1]
    assert changes["tensor"].tolist() == sorted(base, key=lambda name: (weights._layer(name), name))


@pytest.mark.parametrize("types", [("bfloat16", "float32"), ("float32", "float16"), ("float16", "bfloat16")])
def test_types_may_differ(tmp_path, types):
    base, tuned = (tensors(0, getattr(torch, name)) for name in types)
    changes = weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    for _, row in changes.iterrows():
        expected = brute_force(base[row["tensor"]], tuned[row["tensor"]])
        assert row[summaries.SUMS].tolist() == pytest.approx(expected, rel=1e-12)
    assert changes["changed"].sum() > 0


def test_small_updates_vanish_in_bfloat16(tmp_path):
    """The spacing of bfloat16 is 2**-7 from one to two, so a relative update of 1e-4 of a stored number is lost."""
    base = {"model.norm.weight": torch.rand(1000).add(0.5).bfloat16().float()}
    tuned = {"model.norm.weight": base["model.norm.weight"] * (1 + 1e-4)}
    changes = weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    assert changes[["entries", "changed", "changed_bfloat16"]].values.tolist() == [[1000, 1000, 0]]
    summary = summaries.summarise_changes(changes, []).iloc[0]
    assert (summary["unchanged"], summary["unchanged_bfloat16"]) == (0.0, 100.0)
    assert summary["relative_update"] == pytest.approx(0.01, rel=1e-3)  # percent
    stored = {name: tensor.bfloat16() for name, tensor in tuned.items()}
    kept = weights.weight_changes(str(tmp_path / "base"), save(tmp_path / "stored", stored))
    assert kept[["changed", "update_square"]].values.tolist() == [[0, 0]]


def test_shards_make_no_difference(tmp_path):
    base, tuned = tensors(0), tensors(1)
    whole = weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    shards = weights.weight_changes(save(tmp_path / "base3", base, 3), save(tmp_path / "tuned2", tuned, 2))
    pd.testing.assert_frame_equal(whole, shards, check_exact=True)


def test_only_a_few_rows_are_held_at_a_time(tmp_path, monkeypatch):
    base, tuned = tensors(0), tensors(1)
    folders = save(tmp_path / "base", base), save(tmp_path / "tuned", tuned)
    whole = weights.weight_changes(*folders)
    sizes, compare = [], weights._compare_block
    monkeypatch.setattr(weights, "_BLOCK_ENTRIES", 13)
    monkeypatch.setattr(weights, "_compare_block", lambda a, b: sizes.append(a.numel()) or compare(a, b))
    pd.testing.assert_frame_equal(whole, weights.weight_changes(*folders), rtol=1e-12)
    assert max(sizes) <= 13
    assert sum(sizes) == whole["entries"].sum()
    assert weights._BLOCK_ENTRIES * 8 <= 2**26


def test_nan_is_unchanged_but_stays_visible(tmp_path):
    nan = float("nan")
    base = {"model.norm.weight": torch.tensor([nan, nan, 1.0, 0.0]), "lm.weight": torch.ones(2)}
    tuned = {"model.norm.weight": torch.tensor([nan, 1.0, nan, -0.0]), "lm.weight": torch.ones(2)}
    changes = weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    assert changes[["changed", "changed_bfloat16"]].values.tolist() == [[0, 0], [2, 2]]
    assert np.isnan(changes.loc[1, ["base_square", "update_square"]].astype(float)).all()
    assert np.isnan(summaries.summarise_changes(changes, []).loc[0, "relative_update"])
    assert summaries.summarise_changes(changes, ["kind"])["relative_update"].isna().tolist() == [True, False]


@pytest.mark.parametrize("base_ties", [True, False])
@pytest.mark.parametrize("tuned_ties", [True, False])
@pytest.mark.parametrize("copy", [False, True])
def test_tied_output_projection(tmp_path, base_ties, tuned_ties, copy):
    """A tied checkpoint may store a copy of its embedding: that is no further tensor."""
    heads, folders = [], []
    for seed, ties in enumerate([base_ties, tuned_ties]):
        stored = tensors(seed)
        heads.append(stored[EMBEDDING] if ties else torch.randn(11, 4))
        if copy or not ties:
            stored["lm_head.weight"] = heads[-1].clone()
        folders.append(save(tmp_path / str(seed), stored, tie_word_embeddings=ties))
    changes = weights.weight_changes(*folders).set_index("tensor")
    assert ("lm_head.weight" in changes.index) == (not (base_ties and tuned_ties))
    assert len(changes) == 6 + (not (base_ties and tuned_ties))
    if not (base_ties and tuned_ties):
        row = changes.loc["lm_head.weight"]
        assert (row["kind"], row["layer"]) == ("output projection", -1)
        assert row[summaries.SUMS].tolist() == pytest.approx(brute_force(*heads), rel=1e-12)


def test_an_output_projection_stored_against_the_configuration_counts(tmp_path):
    """Transformers does not tie a stored output projection that differs from the embedding."""
    base = tensors()
    tuned = base | {"lm_head.weight": base[EMBEDDING] + 1}
    folders = save(tmp_path / "base", base), save(tmp_path / "tuned", tuned, tie_word_embeddings=True)
    assert weights.weight_changes(*folders).set_index("tensor").loc["lm_head.weight", "changed"] == 44


def test_an_untied_output_projection_may_start_as_the_embedding(tmp_path):
    stored = tensors() | {"lm_head.weight": tensors()[EMBEDDING]}
    folders = [save(tmp_path / name, stored, tie_word_embeddings=False) for name in ("base", "tuned")]
    assert "lm_head.weight" in set(weights.weight_changes(*folders)["tensor"])


def test_a_missing_output_projection_is_refused(tmp_path):
    base = tensors() | {"lm_head.weight": torch.randn(11, 4)}
    folders = save(tmp_path / "base", base), save(tmp_path / "tuned", tensors(), tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"tuned has no lm_head.weight and its config.json does not tie one"):
        weights.weight_changes(*folders)


def refused(tmp_path, base: dict, tuned: dict, message: str):
    with pytest.raises(ValueError, match=message) as raised:
        weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    assert "\n" not in str(raised.value)


def test_other_tensors_are_refused(tmp_path):
    more = {f"model.layers.{i}.mlp.up_proj.weight": torch.ones(2) for i in range(5)}
    first = ", ".join(list(more)[:3])
    message = f"only the base has {first} and 2 more and only the tuned model has b: give the base .* merge an adapter"
    refused(tmp_path, tensors() | more, tensors() | {"b": torch.ones(1)}, message)


def test_other_shapes_are_refused(tmp_path):
    message = re.escape("differ in shape (model.embed_tokens.weight (11, 4) and (12, 4)): give the base")
    refused(tmp_path, tensors(), tensors() | {EMBEDDING: torch.ones(12, 4)}, message)


def test_quantised_weights_are_refused(tmp_path):
    quantised = {"model.layers.0.mlp.up_proj.qweight": torch.ones(2, dtype=torch.int32)}
    message = r"tuned stores model\.layers\.0\.mlp\.up_proj\.qweight in I32: give a checkpoint in float32, float16 or"
    refused(tmp_path, tensors(), tensors() | quantised, message)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_refused(tmp_path, file):
    base = save(tmp_path / "base", tensors())
    folder = tmp_path / "adapter"
    folder.mkdir()
    if file.endswith("json"):
        (folder / file).write_text("{}")
    else:
        save_file({"q_proj.lora_A.weight": torch.ones(2)}, folder / file)
    with pytest.raises(ValueError, match="adapter is an adapter without the model's weights: merge it"):
        weights.weight_changes(base, str(folder))


def test_files_beside_the_model_do_not_count(tmp_path):
    base, tuned = (save(tmp_path / name, tensors()) for name in ("base", "tuned"))
    save_file({"q_proj.lora_A.weight": torch.ones(2)}, tmp_path / "tuned" / "adapter_model.safetensors")
    save_file({"layers.0.attention.wq.weight": torch.ones(2)}, tmp_path / "base" / "consolidated.safetensors")
    assert len(weights.weight_changes(base, tuned)) == 6


def test_files_beside_the_model_do_not_change_its_fingerprint(tmp_path):
    """Of two shards it is the hash of one after the other, whatever else is there."""
    folder = tmp_path / "base"
    save(folder, tensors(), shards=2)
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.safetensors")))
    save_file({"q_proj.lora_A.weight": torch.ones(2)}, folder / "adapter_model.safetensors")
    save_file({"layers.0.attention.wq.weight": torch.ones(2)}, folder / "consolidated.safetensors")
    assert checkpoints.fingerprint(str(folder)) == hashlib.sha256(content).hexdigest()[:16]


def test_a_tensor_of_one_number(tmp_path):
    base = tensors() | {"model.layers.0.scale": torch.tensor(2.0)}
    tuned = base | {"model.layers.0.scale": torch.tensor(2.5)}
    changes = weights.weight_changes(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))
    row = changes.set_index("tensor").loc["model.layers.0.scale", summaries.SUMS]
    assert row.tolist() == [1, 1, 1, 4.0, 0.25]


def test_a_computed_constant_is_no_weight(tmp_path):
    old = tensors() | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    assert len(weights.weight_changes(save(tmp_path / "base", old), save(tmp_path / "tuned", tensors()))) == 6


def test_a_missing_shard_is_named(tmp_path):
    base, tuned = save(tmp_path / "base", tensors()), save(tmp_path / "tuned", tensors(), 3)
    (tmp_path / "tuned" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-00002-of-00003\.safetensors, which its model\.s"):
        weights.weight_changes(base, tuned)


def test_a_tensor_in_two_files_is_refused(tmp_path):
    base, tuned = save(tmp_path / "base", tensors()), save(tmp_path / "tuned", tensors(), 2)
    save_file({EMBEDDING: torch.ones(11, 4)}, tmp_path / "tuned" / "model.safetensors")
    with pytest.raises(ValueError, match=f"stores {EMBEDDING} in model.safetensors and again: remove the stale file"):
        weights.weight_changes(base, tuned)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", None])
def test_a_damaged_file_is_named(tmp_path, content):
    base, tuned = save(tmp_path / "base", tensors()), save(tmp_path / "tuned", tensors())
    file = tmp_path / "tuned" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-8] if content is None else content)
    with pytest.raises(ValueError, match=r"tuned/model\.safetensors is no whole safetensors file"):
        weights.weight_changes(base, tuned)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model folder"):
        weights.weight_changes("miniature", str(tmp_path / "nothing"))
    empty = save(tmp_path / "empty", {})
    with pytest.raises(ValueError, match="stores no tensors"):
        weights.weight_changes(empty, empty)


def test_a_hub_id_is_downloaded(tmp_path, monkeypatch):
    asked, folder = [], save(tmp_path / "model", tensors())
    monkeypatch.setattr(weights, "snapshot_download", lambda name, **options: asked.append((name, options)) or folder)
    monkeypatch.setattr(checkpoints, "resolve", lambda model, *_: model)
    changes = weights.weight_changes("owner/name", folder)
    assert asked == [("owner/name", {"allow_patterns": ["*.safetensors", "*.json"]})]
    assert changes["changed"].sum() == 0


def test_layers_and_kinds():
    expected = {
        EMBEDDING: (-1, "embedding"),
        "lm_head.weight": (-1, "output projection"),
        "model.norm.weight": (-1, "norm"),
        "model.layers.0.input_layernorm.weight": (0, "norm"),
        "model.layers.3.self_attn.q_norm.weight": (3, "norm"),
        "model.layers.12.self_attn.q_proj.bias": (12, "attention query"),
        "model.layers.12.self_attn.k_proj.weight": (12, "attention key"),
        "model.layers.12.self_attn.v_proj.weight": (12, "attention value"),
        "layers.7.self_attn.o_proj.weight": (7, "attention output"),
        "model.language_model.layers.1.mlp.gate_proj.weight": (1, "MLP gate"),
        "model.layers.1.mlp.experts.9.up_proj.weight": (1, "MLP up"),
        "model.layers.1.mlp.down_proj.weight": (1, "MLP down"),
        "model.layers.1.mlp.gate.weight": (1, "other"),
        "model.vision_tower.encoder.layers.2.patch.weight": (-1, "other"),
    }
    assert {name: (weights._layer(name), weights._kind(name)) for name in expected} == expected


def test_summary_of_groups():
    columns = ["layer", "kind", *summaries.SUMS]
    rows = [[1, "norm", 10, 1, 0, 4.0, 1.0], [0, "norm", 30, 9, 3, 12.0, 3.0], [0, "other", 60, 0, 0, 0.0, 0.0]]
    changes = pd.DataFrame(rows, columns=columns)
    whole = summaries.summarise_changes(changes, [])
    assert whole.to_dict("list") == {
        "entries": [100],
        "unchanged": [90.0],
        "unchanged_bfloat16": [97.0],
        "relative_update": [50.0],
    }
    by_kind = summaries.summarise_changes(changes, ["kind"])
    assert by_kind["kind"].tolist() == ["norm", "other"]
    assert by_kind["unchanged"].tolist() == [75.0, 100.0]
    assert np.isnan(by_kind.loc[1, "relative_update"])  # a base of zeros that did not change
    both = summaries.summarise_changes(changes, ["layer", "kind"])
    assert both[["layer", "kind", "entries"]].values.tolist() == [[0, "norm", 30], [0, "other", 60], [1, "norm", 10]]


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_by_torchs_norms(tmp_path, tied):
    model = qwen3(40, num_hidden_layers=2, intermediate_size=24, tie_word_embeddings=tied)
    model.save_pretrained(tmp_path / "base", max_shard_size="4KB")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter) * (torch.rand_like(parameter) < 0.3))
    model.save_pretrained(tmp_path / "tuned")
    after = dict(model.named_parameters())

    changes = weights.weight_changes(str(tmp_path / "base"), str(tmp_path / "tuned"))
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    assert set(changes["tensor"]) == set(before)
    assert "other" not in set(changes["kind"])
    for _, row in summaries.summarise_changes(changes, ["tensor"]).iterrows():
        a, b = before[row["tensor"]].double(), after[row["tensor"]].detach().double()
        assert row["relative_update"] == pytest.approx(100 * ((b - a).norm() / a.norm()).item(), rel=1e-9)
        assert row["unchanged"] == pytest.approx(100 * (a == b).double().mean().item())
    whole = summaries.summarise_changes(changes, []).iloc[0]
    a, b = (torch.cat([model[n].detach().flatten() for n in before]).double() for model in (before, after))
    assert whole["relative_update"] == pytest.approx(100 * ((b - a).norm() / a.norm()).item(), rel=1e-9)
    assert whole["entries"] == len(a)


def test_a_model_has_not_changed_from_itself():
    summary = summaries.summarise_changes(weights.weight_changes("miniature", "miniature"), ["layer"])
    assert summary["layer"].tolist() == [-1, 0, 1, 2, 3]
    assert (summary[["unchanged", "unchanged_bfloat16"]] == 100).all(axis=None)
    assert (summary["relative_update"] == 0).all()
