"""Speed and memory of the slow parts, each as a ratio to an alternative in the same run: `make bench`.

Not a test: numbers depend on the machine and on what else it does.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch

from mathtransfer import latent, models, tokens
from mathtransfer.evaluate import evaluate
from mathtransfer.miniature.families import FAMILIES, distinct_problems


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The fastest of some repeats."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def report(name: str, ours: float, alternative: str, theirs: float) -> None:
    print(f"{name:32s} {ours:7.2f} s   {alternative:44s} {theirs:7.2f} s   ratio {ours / theirs:5.2f}")


def main() -> None:
    torch.set_num_threads(1)
    model, tokenizer = models.load_model("miniature"), models.load_tokenizer("miniature")
    prompts = [p.question for name in FAMILIES for p in distinct_problems(name, "validation", 20, seed=0)]
    completions = [f"answer {p.answer}" for name in FAMILIES for p in distinct_problems(name, "validation", 20, 0)]

    def drift(batch_size: int) -> Callable[[], object]:
        return lambda: tokens.token_drift(model, model, tokenizer, tokenizer, prompts, completions, batch_size)

    report("token drift, batches of 32", seconds(drift(32)), "one text at a time", seconds(drift(1)))

    def states(batch_size: int) -> Callable[[], object]:
        return lambda: latent.mean_hidden_states(model, tokenizer, prompts, batch_size)

    def layer_by_layer() -> None:
        for _ in range(model.config.num_hidden_layers + 1):  # the authors' script repeats the pass for every layer
            latent.mean_hidden_states(model, tokenizer, prompts, 64)

    report("hidden states, one pass", seconds(states(64)), "a pass for every layer", seconds(layer_by_layer))

    def suite(batch_size: int) -> Callable[[], object]:
        return lambda: evaluate(
            model, tokenizer, "miniature", ["non"], split="validation", n=40, seed=0, batch_size=batch_size
        )

    report("evaluation, batches of 200", seconds(suite(200), 1), "batches of 8", seconds(suite(8), 1))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
