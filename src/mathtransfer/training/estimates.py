"""What a recipe will need, from its model's shape alone: memory on a GPU, floating-point operations, GPU hours.

No weights are loaded and nothing is measured: the model is built on PyTorch's meta device, which keeps shapes only, and
PyTorch's counter counts the operations of a forward pass there. What a GPU reaches of its peak and how long responses
are is assumed (`config/estimates.yaml`). Left out of the hours: communication between GPUs, grading, and the time that
GPUs wait for each other. Left out of the memory: logits, a layer that is gathered from its shards, fragmentation.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pandas as pd
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from mathtransfer import shipped
from mathtransfer.training import recipes
from mathtransfer.training.settings import SETTINGS

_HALF, _FULL = 2, 4  # bytes of a bfloat16 or float16, and of a float32
_TRAINED = 16  # bytes of a weight that is trained: itself, its gradient and AdamW's two moments, in float32
_KEPT = 60  # bytes that a layer of Qwen3 keeps for the backward pass, for each token and value of its width


def recipe_table(
    folder: str | Path = "config/recipes", assumptions: str | Path = "config/estimates.yaml"
) -> pd.DataFrame:
    """The estimates of all recipes that the assumptions name. They are estimates: nothing in them was measured.

    Returns:
        `recipe, model, gpu, gpus, parameters, memory` and `capacity` (needed and there, GB a GPU), `flops, gpu_hours,
        hours`, and `assumes` (the mean response and the shares of the peak).
    """
    given = yaml.safe_load(shipped.find(assumptions).read_text())
    rows = []
    for name, layout in given["recipes"].items():
        changes = {"lora": layout["lora"]} if "lora" in layout else {}
        recipe = recipes.read_recipe(Path(folder) / f"{layout.get('recipe', name)}.yaml", changes)
        found, use = _estimate(recipe, layout, given), given["utilisation"]
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


def _estimate(recipe: dict, layout: dict, assumptions: dict) -> dict[str, float]:
    """What a recipe needs on the GPUs that it is laid out for.

    Returns:
        `parameters`; `memory` (GB a GPU, the larger of training and sampling), `flops` of the whole run, `gpu_hours`.
    """
    model, options = _model_of(recipe["model"]), recipe["trainer"]
    setting, adapters = SETTINGS[recipe["setting"]], bool(recipe["lora"])
    gpu, use = assumptions["gpus"][layout["gpu"]], assumptions["utilisation"]
    responses = recipe["batch_size"] * _updates(recipe, layout.get("problems", assumptions["problems"]))
    vllm = options.get("use_vllm", False)
    # Log-probabilities of the policy that sampled, if it is not the one that is trained, and of the reference.
    scorings = (vllm or "generation_batch_size" in options) + (setting.kl > 0)
    forward = _forward_flops(model, layout["prompt"], layout["response"])
    trained = forward * (_passes(options["gradient_checkpointing"], adapters) + scorings)
    sampled = forward * (setting.sampling == "policy")
    seconds = responses * (trained / use["training"] + sampled / use["vllm" if vllm else "generate"])
    return {
        "parameters": model.num_parameters(),
        "memory": _memory(model, recipe, layout, gpu) / 1e9,
        "flops": float(responses * (trained + sampled)),
        "gpu_hours": seconds / (gpu["peak"] * 1e12) / 3600,
    }


@cache
def _model_of(model: str) -> Qwen3ForCausalLM:
    """A Qwen3 base without its weights, by its hub id (`qwen3.csv`, from the published configurations)."""
    table = pd.read_csv(Path(__file__).parent / "qwen3.csv").set_index("model")
    if model not in table.index:
        raise ValueError(f"no configuration of {model!r}: expected one of {', '.join(table.index)}")
    config = Qwen3Config(**{name: value.item() for name, value in table.loc[model].infer_objects().items()})
    with torch.device("meta"):
        return Qwen3ForCausalLM(config)


@cache
@torch.no_grad()
def _forward_flops(model: PreTrainedModel, prompt: int, response: int) -> int:
    """Operations to sample a response with a cache, or to score it; the prompt does not go through the head.

    Attention counts all pairs of tokens; kernels that skip the masked half save up to half of that.
    """
    ids = torch.zeros(1, prompt + response, dtype=torch.long, device=model.device)
    mask = {"full_attention": None}  # there are no values here to make one from
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=mask, logits_to_keep=response, use_cache=False)
    return counter.get_total_flops()


def _passes(checkpointing: bool, adapters: bool) -> int:
    """What training on a response costs, in forward passes: one forwards, two backwards, and one that is repeated.

    With adapters, the half of the backward pass that makes the frozen weights' gradients is left out.
    """
    return 1 + (1 if adapters else 2) + checkpointing


def _updates(recipe: dict, problems: int) -> int:
    if recipe["steps"] is not None:
        return recipe["steps"]
    an_epoch = problems * recipe["group_size"] // recipe["batch_size"]
    return math.ceil(recipe["trainer"]["num_train_epochs"] * an_epoch)


def _memory(model: PreTrainedModel, recipe: dict, layout: dict, gpu: dict) -> float:
    """Bytes on a GPU, in training or sampling, on the longest sequences that the recipe lets through."""
    options, setting, gpus = recipe["trainer"], SETTINGS[recipe["setting"]], layout["gpus"]
    half = gpu["bfloat16"]  # without it, frozen weights are float32 too
    longest = recipe["prompt"]["max_tokens"] + recipe["max_completion"]
    weights = model.num_parameters()
    if recipe["lora"]:
        state = weights * (_HALF if half else _FULL) + _adapter_weights(model, recipe["lora"]["r"]) * _TRAINED
    else:
        state = weights * (_TRAINED + (_FULL if setting.kl else 0))  # the reference too
    if gpus == 1 and not (recipe["lora"] and half):
        state += weights * _HALF  # the copy that is computed with
    activations = _activation_bytes(model, options["per_device_train_batch_size"] * longest, options)
    if setting.sampling == "teacher":
        sampling = 0.0
    elif options.get("use_vllm"):
        sampling = options["vllm_gpu_memory_utilization"] * gpu["memory"] * 1e9
    else:
        sampling = _cache_bytes(model, options.get("generation_batch_size", recipe["batch_size"]) / gpus * longest)
    return state / gpus + max(activations, sampling)


def _adapter_weights(model: PreTrainedModel, rank: int) -> int:
    """Weights of low-rank adapters on all linear maps of all layers."""
    maps = [module for module in model.model.modules() if isinstance(module, torch.nn.Linear)]
    return rank * sum(module.in_features + module.out_features for module in maps)


def _activation_bytes(model: PreTrainedModel, tokens: float, options: dict) -> float:
    """What the layers keep for the backward pass; with checkpointing their inputs, and all of one layer at a time."""
    config = model.config
    inputs = _HALF * config.num_hidden_layers if options["gradient_checkpointing"] else 0
    whole = 1 if options["gradient_checkpointing"] else config.num_hidden_layers
    return tokens * config.hidden_size * (inputs + _KEPT * whole)


def _cache_bytes(model: PreTrainedModel, tokens: float) -> float:
    """Keys and values in half precision."""
    config = model.config
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * _HALF * tokens
