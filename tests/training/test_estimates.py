"""Estimates against counted weights, counted operations and the tensors that autograd keeps."""

import pytest
import torch
import yaml
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from mathtransfer.training import estimates

SMALL = {
    "vocab_size": 1000,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "tie_word_embeddings": True,
}
WIDE = SMALL | {"hidden_size": 128, "intermediate_size": 640, "num_key_value_heads": 6, "tie_word_embeddings": False}
SHAPES = [SMALL, WIDE, SMALL | {"num_hidden_layers": 8}]
BATCH, LENGTH = 2, 96


def trained_model(shape: dict, checkpointing: bool, attention: str) -> Qwen3ForCausalLM:
    """As the trainer prepares it."""
    model = Qwen3ForCausalLM(Qwen3Config(**shape)).train()
    model.set_attn_implementation(attention)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def log_probs(model, length: int = LENGTH):
    ids = torch.randint(0, model.config.vocab_size, (BATCH, length))
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True).log_probs


def counted_flops(model, length: int = LENGTH) -> tuple[int, int]:
    """Operations of the forward pass, and of both passes. The counter does not know `addmm_`, which TRL's head uses."""

    def addmm(into, left, right, *_, **__) -> int:
        return 2 * left[0] * left[1] * right[1]

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm}) as counter:
        found = log_probs(model, length)
        forward = counter.get_total_flops()
        found.sum().backward()
    return forward, counter.get_total_flops()


def kept_bytes(model) -> int:
    """Bytes of all tensors that autograd keeps after the forward pass, weights apart, each storage once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        log_probs(model)
    return sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in weights)


@pytest.mark.parametrize(
    "model", ["Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-1.7B-Base", "Qwen/Qwen3-8B-Base", "Qwen/Qwen3-14B-Base"]
)
def test_parameters_are_those_of_the_model(model):
    config = estimates.config_of(model)
    with torch.device("meta"):
        built = Qwen3ForCausalLM(config)
    assert estimates.weight_count(config) == sum(parameter.numel() for parameter in built.parameters())
    assert estimates.weight_count(config) == pytest.approx(float(model.split("-")[1][:-1]) * 1e9, rel=0.06)  # its name


def test_adapters_are_those_of_peft():
    peft = pytest.importorskip("peft")
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
    assert estimates.adapter_parameters(model.config, 4) == adapted.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_operations_are_those_counted(shape, checkpointing):
    """Eager attention, because the counter does not see into the fused one on a CPU."""
    model = trained_model(shape, checkpointing, "eager")
    forward, both = counted_flops(model)
    assert BATCH * estimates.forward_flops(model.config, 0, LENGTH) == pytest.approx(forward, rel=0.03)
    expected = BATCH * estimates.training_flops(model.config, 0, LENGTH, checkpointing)
    assert expected == pytest.approx(both, rel=0.03)


def test_frozen_weights_save_their_gradients():
    model = trained_model(SMALL, True, "eager")
    model.requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda module, given, out: out.requires_grad_())
    _, both = counted_flops(model)
    expected = BATCH * estimates.training_flops(model.config, 0, LENGTH, True, adapters=True)
    assert expected == pytest.approx(both, rel=0.03)


def test_attention_grows_with_the_square_of_the_length():
    model = trained_model(SMALL, False, "eager")
    for length in (64, 512):
        _, both = counted_flops(model, length)
        assert BATCH * estimates.training_flops(model.config, 0, length, False) == pytest.approx(both, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_is_that_of_the_tensors(shape):
    """Weights, gradients, AdamW's moments, and what autograd keeps, with checkpointing and without."""
    model = trained_model(shape, False, "sdpa")
    kept = kept_bytes(model)
    config = model.config
    assert estimates.activation_bytes(config, BATCH * LENGTH, False, half=False) == pytest.approx(kept, rel=0.1)
    log_probs(model).sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    tensors = [t for p in model.parameters() for t in (p, p.grad, *optimizer.state[p].values()) if t.ndim]
    assert estimates.state_bytes(config) == sum(tensor.nbytes for tensor in tensors)
    # With checkpointing: what is kept, and one layer while it is made again, which is what one layer more would keep.
    deeper = kept_bytes(trained_model(shape | {"num_hidden_layers": config.num_hidden_layers + 1}, False, "sdpa"))
    saved = kept_bytes(trained_model(shape, True, "sdpa")) + deeper - kept
    assert estimates.activation_bytes(config, BATCH * LENGTH, True, half=False) == pytest.approx(saved, rel=0.1)


def test_half_precision_is_what_autocast_keeps():
    """Autocast also keeps its copies of the layers' weights, which `estimates` counts by themselves."""
    model = trained_model(SMALL, False, "sdpa")
    with torch.autocast("cpu", torch.bfloat16):
        kept = kept_bytes(model) - estimates.HALF * estimates.layer_products(model.config)
    assert estimates.activation_bytes(model.config, BATCH * LENGTH, False, half=True) == pytest.approx(kept, rel=0.25)


def test_cache_is_that_of_transformers():
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL)).to(torch.bfloat16)
    cache = model(torch.zeros(BATCH, LENGTH, dtype=torch.long), use_cache=True).past_key_values
    nbytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert estimates.cache_bytes(model.config, BATCH * LENGTH) == nbytes


def test_the_table_names_every_recipe_and_what_it_assumes():
    table = estimates.recipe_table(ROOT / "config" / "recipes", ROOT / "config" / "estimates.yaml").set_index("recipe")
    assert {path.stem for path in (ROOT / "config" / "recipes").glob("*.yaml")} <= set(table.index)
    assert (table["memory"] < table["capacity"]).all()  # each recipe is laid out for its GPUs
    assert table["assumes"].str.contains("tokens a response").all()
    # By hand, without attention and head: 8 a weight to train with checkpointing, 2 to sample, 2 to score.
    tokens, weights = 140 * 8192 * 3150, 13.2e9
    assert table.loc["study_rl", "flops"] == pytest.approx((8 + 2 + 2) * weights * tokens, rel=0.2)


def test_assumptions_change_the_hours_and_nothing_else(tmp_path):
    given = yaml.safe_load((ROOT / "config" / "estimates.yaml").read_text())
    given["utilisation"] = {name: share / 2 for name, share in given["utilisation"].items()}
    (tmp_path / "halved.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    recipes = ROOT / "config" / "recipes"
    before, after = (
        estimates.recipe_table(recipes, f) for f in (ROOT / "config/estimates.yaml", tmp_path / "halved.yaml")
    )
    assert (after["gpu_hours"] / before["gpu_hours"]).to_numpy() == pytest.approx(2)
    assert after["memory"].equals(before["memory"]) and after["flops"].equals(before["flops"])


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="no configuration of 'gpt2': expected one of"):
        estimates.config_of("gpt2")
