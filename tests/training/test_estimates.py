"""Estimates against counted weights, counted operations, the tensors that autograd keeps, and sums by hand."""

import pytest
import torch
import yaml
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.trainer.utils import add_fused_lm_head

from mathtransfer.training import estimates

SMALL = {  # in the proportions of Qwen3-1.7B
    "vocab_size": 1000,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "tie_word_embeddings": True,
}
BATCH, LENGTH = 2, 96
RECIPES, ASSUMPTIONS = ROOT / "config" / "recipes", ROOT / "config" / "estimates.yaml"


def trained_model(checkpointing: bool, attention: str) -> Qwen3ForCausalLM:
    """As the trainer prepares it."""
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL)).train()
    model.set_attn_implementation(attention)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def log_probs(model):
    ids = torch.randint(0, model.config.vocab_size, (BATCH, LENGTH))
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True).log_probs


def counted_flops(model) -> int:
    """Operations of the forward and the backward pass. The counter does not know `addmm_`, which TRL's head uses."""

    def addmm(into, left, right, *_, **__) -> int:
        return 2 * left[0] * left[1] * right[1]

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: addmm}) as counter:
        log_probs(model).sum().backward()
    return counter.get_total_flops()


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


@pytest.mark.parametrize("size", ["0.6B", "1.7B", "8B", "14B"])
def test_weights_are_those_in_the_models_name(size):
    found = estimates._model_of(f"Qwen/Qwen3-{size}-Base")
    assert found.device.type == "meta"
    assert found.num_parameters() == pytest.approx(float(size[:-1]) * 1e9, rel=0.06)


def test_adapters_are_those_of_peft():
    peft = pytest.importorskip("peft")
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL))
    expected = estimates._adapter_weights(model, 4)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))
    assert expected == adapted.get_nb_trainable_parameters()[0]


def test_a_forward_pass_by_the_formula():
    """2 N a token (Kaplan et al., arXiv 2001.08361, Section 2.1), the head for the response only, and attention."""
    model = estimates._model_of("Qwen/Qwen3-8B-Base")
    prompt, response, shape = 100, 900, model.config
    head = shape.vocab_size * shape.hidden_size
    products = 2 * (model.num_parameters() - 2 * head) * (prompt + response) + 2 * head * response
    width = shape.num_attention_heads * shape.head_dim
    attention = 4 * shape.num_hidden_layers * width * (prompt + response) ** 2
    assert estimates._forward_flops(model, prompt, response) == pytest.approx(products + attention, rel=1e-3)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapters", [False, True])
def test_training_costs_the_passes_that_are_counted(checkpointing, adapters):
    """Eager attention, because the counter does not see into the fused one on a CPU."""
    model = trained_model(checkpointing, "eager")
    if adapters:
        model.requires_grad_(False)
        model.get_input_embeddings().register_forward_hook(lambda module, given, out: out.requires_grad_())
    forward = BATCH * estimates._forward_flops(Qwen3ForCausalLM(model.config), 0, LENGTH)
    expected = forward * estimates._passes(checkpointing, adapters)
    assert expected == pytest.approx(counted_flops(model), rel=0.15)  # TRL's head is repeated, a last product is not


def test_the_trained_state_is_16_bytes_a_weight():
    model = trained_model(False, "sdpa")
    log_probs(model).sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    tensors = [t for p in model.parameters() for t in (p, p.grad, *optimizer.state[p].values()) if t.ndim]
    assert sum(tensor.nbytes for tensor in tensors) == 16 * model.num_parameters()


def test_activations_are_what_autograd_keeps():
    """In half precision; autograd also keeps autocast's copies of the layers' weights, which are no activations."""
    model = trained_model(False, "sdpa")
    maps = [module.weight.numel() for module in model.model.modules() if isinstance(module, torch.nn.Linear)]
    with torch.autocast("cpu", torch.bfloat16):
        kept = kept_bytes(model) - 2 * sum(maps)
    found = estimates._activation_bytes(model, BATCH * LENGTH, {"gradient_checkpointing": False})
    assert found == pytest.approx(kept, rel=0.25)


def test_cache_is_that_of_transformers():
    model = Qwen3ForCausalLM(Qwen3Config(**SMALL)).to(torch.bfloat16)
    cache = model(torch.zeros(BATCH, LENGTH, dtype=torch.long), use_cache=True).past_key_values
    nbytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert estimates._cache_bytes(model, BATCH * LENGTH) == nbytes


@pytest.fixture(scope="module")
def table():
    return estimates.recipe_table(RECIPES, ASSUMPTIONS)


def test_the_table_names_every_recipe_and_what_it_assumes(table):
    by_name = table.set_index("recipe")
    assert {path.stem for path in RECIPES.glob("*.yaml")} <= set(by_name.index)
    assert (table["memory"] < table["capacity"]).all()  # each recipe is laid out for its GPUs
    assert table["assumes"].str.contains("tokens a response").all()
    # By hand, without attention and head: 8 a weight to train with checkpointing, 2 to sample, 2 to score.
    tokens, weights = 140 * 8192 * 3150, 13.2e9
    assert by_name.loc["study_rl", "flops"] == pytest.approx((8 + 2 + 2) * weights * tokens, rel=0.2)
    # 16 bytes a weight on 16 GPUs, and the 40% of 80 GB that vLLM is given.
    assert by_name.loc["study_rl", "memory"] == pytest.approx(14.77 + 32, rel=0.01)


def test_assumptions_change_the_hours_and_nothing_else(table, tmp_path):
    given = yaml.safe_load(ASSUMPTIONS.read_text())
    given["utilisation"] = {name: share / 2 for name, share in given["utilisation"].items()}
    (tmp_path / "halved.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    after = estimates.recipe_table(RECIPES, tmp_path / "halved.yaml")
    assert (after["gpu_hours"] / table["gpu_hours"]).to_numpy() == pytest.approx(2)
    assert after["memory"].equals(table["memory"]) and after["flops"].equals(table["flops"])


def test_without_bfloat16_frozen_weights_are_float32_beside_a_half_precision_copy(table, tmp_path):
    given = yaml.safe_load(ASSUMPTIONS.read_text())
    given["gpus"]["L4"]["bfloat16"] = False
    (tmp_path / "older.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    after = estimates.recipe_table(RECIPES, tmp_path / "older.yaml")
    more = after["memory"] - table["memory"]
    assert more[table["gpu"] == "L4"].tolist() == pytest.approx((4e-9 * table["parameters"])[table["gpu"] == "L4"])
    assert (more[table["gpu"] != "L4"] == 0).all()


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="no configuration of 'gpt2': expected one of"):
        estimates._model_of("gpt2")
