"""What a recipe will need, from its model's shape alone: memory on a GPU, floating-point operations, GPU hours.

Nothing is loaded and nothing is measured. The formulas count what the trainer does: matrix products, weights,
gradients, optimizer state, tensors kept for the backward pass, and the cache of responses. What a GPU reaches of its
peak and how long responses are is assumed (`config/estimates.yaml`). Left out: communication between GPUs, grading,
fragmentation of memory, and the time that GPUs wait for each other.

A weight that takes part in a matrix product costs 2 operations a token forwards and 4 backwards, so 6 N for a trained
token and 2 N for a sampled one (Kaplan et al., arXiv 2001.08361, Section 2.1); attention adds 4 operations for each
head dimension, layer and pair of tokens forwards. TRL's head makes its logits a second time in the backward pass.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import yaml
from transformers import PretrainedConfig, Qwen3Config

from mathtransfer.training import objective, recipes

PACKAGE = Path(__file__).parent
FULL, HALF = 4, 2  # bytes of a float32 and of a bfloat16 or float16
ADAM = 2 * FULL  # bytes of a trained weight's first and second moment
TILE = 4096 * 32768  # logits that TRL's head holds at once


def config_of(model: str) -> Qwen3Config:
    """The shape of a Qwen3 base by its hub id (`qwen3.csv`, from the published configurations).

    Raises:
        ValueError: the model is not among them.
    """
    table = pd.read_csv(PACKAGE / "qwen3.csv").set_index("model")
    if model not in table.index:
        raise ValueError(f"no configuration of {model!r}: expected one of {', '.join(table.index)}")
    return Qwen3Config(**{name: value.item() for name, value in table.loc[model].infer_objects().items()})


def layer_widths(config: PretrainedConfig) -> tuple[int, int, int, int]:
    """Widths of the residual stream, the queries, the keys, and the MLP."""
    heads, keys = config.num_attention_heads, config.num_key_value_heads
    return config.hidden_size, heads * config.head_dim, keys * config.head_dim, config.intermediate_size


def layer_products(config: PretrainedConfig) -> int:
    """Weights of all layers that take part in matrix products."""
    d, a, k, f = layer_widths(config)
    return config.num_hidden_layers * (2 * d * a + 2 * d * k + 3 * d * f)


def head_products(config: PretrainedConfig) -> int:
    """Weights of the head."""
    return config.vocab_size * config.hidden_size


def weight_count(config: PretrainedConfig) -> int:
    """All weights, those that head and embedding share once."""
    norms = config.num_hidden_layers * 2 * (config.hidden_size + config.head_dim) + config.hidden_size
    return layer_products(config) + norms + head_products(config) * (1 if config.tie_word_embeddings else 2)


def adapter_parameters(config: PretrainedConfig, rank: int) -> int:
    """Weights of low-rank adapters on all linear maps of all layers."""
    d, a, k, f = layer_widths(config)
    return config.num_hidden_layers * rank * (2 * (d + a) + 2 * (d + k) + 3 * (d + f))


def layer_flops(config: PretrainedConfig, length: int) -> tuple[float, float]:
    """Operations of one forward pass of a sequence of `length` tokens through the layers: products and attention.

    Attention counts all pairs of tokens, as plain kernels compute it; kernels that skip the masked half save up to half
    of that.
    """
    _, a, _, _ = layer_widths(config)
    return 2.0 * layer_products(config) * length, 4.0 * config.num_hidden_layers * a * length**2


def forward_flops(config: PretrainedConfig, prompt: int, response: int) -> float:
    """Operations to sample a response with a cache, or to score it; the prompt does not go through the head."""
    return sum(layer_flops(config, prompt + response)) + 2.0 * head_products(config) * response


def training_flops(
    config: PretrainedConfig, prompt: int, response: int, checkpointing: bool, adapters: bool = False
) -> float:
    """Operations to train on one response: the forward pass and the backward pass.

    Args:
        prompt: tokens, which go through the layers but not through the head.
        response: tokens.
        checkpointing: the layers' forward pass is made a second time, but for its last product.
        adapters: no gradients of the frozen weights are made.
    """
    products, attention = layer_flops(config, prompt + response)
    d, _, _, f = layer_widths(config)
    again = products + attention - 2 * config.num_hidden_layers * d * f * (prompt + response) if checkpointing else 0
    gradients = 1 if adapters else 2
    head = 2.0 * head_products(config) * response
    return products * (1 + gradients) + attention * 3 + again + head * (2 + gradients)


def activation_bytes(config: PretrainedConfig, tokens: int, checkpointing: bool, half: bool) -> float:
    """Bytes kept for the backward pass over `tokens` tokens, without logits.

    A layer keeps 6 values of the residual stream's width, 4 of the queries', 4 of the keys' and 4 of the MLP's for each
    token; with checkpointing only its input, and all of one layer while that is made again. In half precision the
    norms' 4 residual values stay float32.
    """
    d, a, k, f = layer_widths(config)
    width = HALF if half else FULL
    layer = 4 * d * FULL + (2 * d + 4 * a + 4 * k + 4 * f) * width
    ends = 2 * d * FULL + d * width  # the last norm's, and the head's input
    layers = config.num_hidden_layers
    return tokens * ((layers * d * width + layer if checkpointing else layers * layer) + ends)


def state_bytes(config: PretrainedConfig, rank: int = 0, half: bool = True) -> float:
    """Bytes of weights, gradients and AdamW's moments of one whole model: 16 a weight, all in float32.

    Args:
        rank: of adapters; the frozen weights then have no gradients, and half precision where the GPU has bfloat16.
    """
    if rank:
        frozen = weight_count(config) * (HALF if half else FULL)
        return frozen + adapter_parameters(config, rank) * (2 * FULL + ADAM)
    return weight_count(config) * (2 * FULL + ADAM)


def cache_bytes(config: PretrainedConfig, tokens: int) -> float:
    """Bytes of keys and values of `tokens` tokens in half precision."""
    return 2 * config.num_hidden_layers * layer_widths(config)[2] * HALF * tokens


def estimate(recipe: dict, layout: dict, assumptions: dict) -> dict[str, float]:
    """What a recipe needs on the GPUs that it is laid out for.

    Args:
        recipe: see `recipes.read_recipe`.
        layout: `gpu`, `gpus`, mean tokens of a `prompt` and a `response`, and maybe the number of `problems`.
        assumptions: `utilisation`, `gpus` and `problems`.

    Returns:
        `parameters`; `memory` (GB a GPU, the larger of training and sampling), `flops` of the whole run, `gpu_hours`.
    """
    config, options = config_of(recipe["model"]), recipe["trainer"]
    setting, rank = objective.SETTINGS[recipe["setting"]], recipe.get("lora", {}).get("r", 0)
    gpu, lengths = assumptions["gpus"][layout["gpu"]], (layout["prompt"], layout["response"])
    responses = recipe["batch_size"] * _updates(recipe, layout.get("problems", assumptions["problems"]))
    on_policy, vllm = setting.sampling == "policy", options.get("use_vllm", False)

    trained = training_flops(config, *lengths, options["gradient_checkpointing"], bool(rank))
    # Log-probabilities of the policy that sampled, where it is not the one that is trained, and of the reference.
    scorings = (vllm or "generation_batch_size" in options) + (setting.kl > 0)
    forwards = scorings * forward_flops(config, *lengths)
    sampled = on_policy * forward_flops(config, *lengths)
    use = assumptions["utilisation"]
    sampling = use["vllm" if vllm else "generate"]
    seconds = responses * ((trained + forwards) / use["training"] + sampled / sampling) / (gpu["peak"] * 1e12)
    return {
        "parameters": weight_count(config),
        "memory": max(_memory(config, recipe, layout, gpu)) / 1e9,
        "flops": responses * (trained + forwards + sampled),
        "gpu_hours": seconds / 3600,
    }


def _updates(recipe: dict, problems: int) -> int:
    if recipe["steps"] is not None:
        return recipe["steps"]
    an_epoch = problems * recipe["group_size"] // recipe["batch_size"]
    return math.ceil(recipe["trainer"]["num_train_epochs"] * an_epoch)


def _memory(config: PretrainedConfig, recipe: dict, layout: dict, gpu: dict) -> tuple[float, float]:
    """Bytes on a GPU while training and while sampling, on the longest sequences that the recipe lets through."""
    options, gpus, rank = recipe["trainer"], layout["gpus"], recipe.get("lora", {}).get("r", 0)
    half = layout["gpu"] != "T4"  # without bfloat16, weights that are frozen are float32 too
    longest = recipe["prompt"]["max_tokens"] + recipe["max_completion"]
    state = state_bytes(config, rank, half) / gpus
    if objective.SETTINGS[recipe["setting"]].kl and not rank:
        state += weight_count(config) * FULL / gpus
    copy = weight_count(config) * HALF if gpus == 1 and not (rank and half) else 0  # autocast's
    gathered = head_products(config) * 2 * FULL if gpus > 1 else 0  # the whole head and its gradient
    tokens = options["per_device_train_batch_size"] * longest
    passed = activation_bytes(config, tokens, options["gradient_checkpointing"], True)
    training = state + copy + gathered + passed + TILE * (HALF + FULL)
    if objective.SETTINGS[recipe["setting"]].sampling == "teacher":
        sampling = 0.0
    elif options.get("use_vllm"):
        sampling = state + options["vllm_gpu_memory_utilization"] * gpu["memory"] * 1e9
    else:
        a_round = options.get("generation_batch_size", recipe["batch_size"]) / gpus
        sampling = state + copy + cache_bytes(config, a_round * longest)
    return training, sampling


def recipe_table(
    folder: str | Path = "config/recipes", assumptions: str | Path = "config/estimates.yaml"
) -> pd.DataFrame:
    """The estimates of all recipes that the assumptions name. They are estimates: nothing in them was measured.

    Returns:
        `recipe, model, gpu, gpus, parameters, memory` and `capacity` (needed and there, GB a GPU), `flops, gpu_hours,
        hours`, and `assumes` (the mean response and the shares of the peak).
    """
    given = yaml.safe_load(Path(assumptions).read_text())
    rows = []
    for name, layout in given["recipes"].items():
        changes = {"lora": layout["lora"]} if "lora" in layout else {}
        recipe = recipes.read_recipe(Path(folder) / f"{layout.get('recipe', name)}.yaml", changes)
        found, use = estimate(recipe, layout, given), given["utilisation"]
        sampling = use["vllm" if recipe["trainer"].get("use_vllm") else "generate"]
        shares = f"{use['training']:.0%} of the peak in training, {sampling:.0%} in sampling"
        rows.append(
            {
                "recipe": name,
                "model": recipe["model"].split("/")[-1],
                "gpu": layout["gpu"],
                "gpus": layout["gpus"],
                **found,
                "capacity": given["gpus"][layout["gpu"]]["memory"],
                "hours": found["gpu_hours"] / layout["gpus"],
                "assumes": f"{layout['response']} tokens a response, {shares}",
            }
        )
    return pd.DataFrame(rows)
