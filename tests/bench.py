"""Speed and memory of the slow parts, each as a ratio to an alternative in the same run: `make bench`.

Not a test: numbers depend on the machine and on what else it does. The table goes to `_build/bench.csv`.
"""

from __future__ import annotations

import csv
import ctypes
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from mathtransfer.benchmarks import questions
from mathtransfer.benchmarks.evaluate import evaluate
from mathtransfer.drift import completions, divergence, hidden_states, latent
from mathtransfer.miniature import traces
from mathtransfer.miniature.families import FAMILIES, Problem, distinct_problems
from mathtransfer.models import checkpoints, engines, readout
from mathtransfer.models.readout import Readout
from mathtransfer.training import post_training, problems, reward

OUT = Path("_build/bench.csv")
ROWS: list[tuple] = []
HIDDEN, VOCABULARY, TOKENS = 1024, 151_936, 4096  # of Qwen3-0.6B, and four thousand tokens of text


def seconds(*works: Callable[[], object], repeats: int = 3) -> list[float]:
    """The fastest of some repeats of each work, taken in turns so that all meet the same machine."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for own, work in zip(times, works, strict=True):
            start = time.perf_counter()
            with redirect_stdout(None):  # progress
                work()
            own.append(time.perf_counter() - start)
    return [min(own) for own in times]


def report(
    name: str, ours: float, alternative: str, theirs: float, unit: str = "s", limit: float | None = None
) -> None:
    """Print a line and keep it; `limit` is the largest ratio that we set ourselves."""
    ROWS.append((name, round(ours, 4), alternative, round(theirs, 4), unit, round(ours / theirs, 4), limit))
    bound = f"  limit {limit}" if limit else ""
    print(f"{name:34s} {ours:9.2f} {unit:2s}   {alternative:36s} {theirs:9.2f} {unit:2s}   {ours / theirs:6.3f}{bound}")


# --- the miniature study's parts


def miniature() -> None:
    model, tokenizer = checkpoints.load_model("miniature"), checkpoints.load_tokenizer("miniature")
    problems = [p for name in FAMILIES for p in distinct_problems(name, "validation", 20, seed=0)]
    encode = [(tokenizer(p.question).input_ids, tokenizer(f"answer {p.answer}").input_ids) for p in problems]

    def drift(batch_size: int) -> Callable[[], object]:
        return lambda: completions.token_drift(lambda: model, lambda: model, tokenizer, encode, batch_size=batch_size)

    report("token drift, batches of 32", *_between("one text at a time", seconds(drift(32), drift(1))))

    def suite(batch_size: int) -> Callable[[], object]:
        engine = engines.Transformers(model, tokenizer, batch_size)
        selection = questions.Selection("validation", 40)

        def work() -> None:
            tasks = questions.tasks("miniature", ["non"], selection, tokenizer, engine.budget)
            with tempfile.TemporaryDirectory() as folder:
                evaluate(engine, tasks, seed=0, folder=Path(folder))

        return work

    report("evaluate", *_between("batches of 8", seconds(suite(200), suite(8), repeats=2)))


IMPORTS = {"lightest": "chapters/ledger", "heaviest": "runs/train"}
LEAST = {
    "lightest": ("import pandas", "import pandas"),
    # Transformers imports its models when one is asked for.
    "heaviest": (
        "import transformers' models",
        "from transformers import AutoModelForCausalLM; AutoModelForCausalLM.from_config",
    ),
}


def imports() -> None:
    """What the first cells of a notebook import, in a process of its own, beside what its kernel cannot do without."""
    for which, name in IMPORTS.items():
        cells = [cell.source for cell in nbformat.read(f"notebooks/{name}.ipynb", 4).cells if cell.cell_type == "code"]
        lines = [line for cell in cells[2:] for line in cell.splitlines() if line.startswith(("import ", "from "))]
        least, code = LEAST[which]
        alone = [[sys.executable, "-c", text] for text in ("\n".join(lines), code)]
        times = seconds(*[lambda command=command: subprocess.run(command, check=True) for command in alone])
        report(f"imports, {which}: {name}", *_between(least, times))


def _between(alternative: str, times: list[float]) -> tuple[float, str, float]:
    return times[0], alternative, times[1]


# --- a step of reinforcement learning

RESPONSES, GROUP, LONGEST, RATE = 128, 8, 72, 3e-4  # of the tier mini
STEPS = 10


def rl_step() -> None:
    """Our step on TRL's trainer, and a plain loop that samples and updates as little padding as it."""
    todo = [problem for _, problem in traces.mathematics(1000, 0)]
    ours, plain = seconds(lambda: trained(STEPS), lambda: trained_plainly(todo, STEPS), repeats=3)
    loading, reading = seconds(lambda: trained(0), lambda: trained_plainly(todo, 0), repeats=3)
    report("rl_step", (ours - loading) / STEPS, "a plain loop", (plain - reading) / STEPS, limit=1.5)


RECIPE = {
    "label": "",
    "teacher": "",
    "teacher_errs": 0.0,
    "begins": "",
    "model": "miniature",
    "setting": "on-policy RL",
    "seed": 0,
    "batch_size": RESPONSES,
    "group_size": GROUP,
    "learning_rate": RATE,
    "max_completion": LONGEST,
    "save_every": 1000,
    "prompt": {},
    "trainer": {},
    "lora": {},
}


def trained(steps: int) -> None:
    recipe = RECIPE | {"steps": max(1, steps)}
    found, tokenizer = problems.read_problems("miniature", 1000), post_training.load_tokenizer(recipe)
    rows, _ = problems.training_rows(found, tokenizer, {}, LONGEST)
    with tempfile.TemporaryDirectory() as folder, reward.open_reward(found.grader) as correct:
        trainer = post_training.build_trainer(recipe, tokenizer, rows, None, correct, Path(folder))
        if steps:
            post_training.train(trainer, recipe)


def trained_plainly(todo: list[Problem], steps: int) -> None:
    """The same objective on the same problems in a loop of its own."""
    model, tokenizer = checkpoints.load_model("miniature").train(), checkpoints.load_tokenizer("miniature")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    torch.manual_seed(0)
    for step in range(steps):
        asked = todo[step * RESPONSES // GROUP :][: RESPONSES // GROUP]
        asked = [problem for problem in asked for _ in range(GROUP)]
        prompts = [tokenizer(problem.question).input_ids for problem in asked]
        made = sampled_plainly(model, prompts, tokenizer.eos_token_id)
        texts = tokenizer.batch_decode(made, skip_special_tokens=True)
        rewards = torch.tensor(
            [float(text.endswith(f"answer {p.answer}")) for text, p in zip(texts, asked, strict=True)]
        )
        groups = rewards.view(-1, GROUP)
        spread = groups.std(1, keepdim=True) + 1e-4
        update_plainly(model, prompts, made, ((groups - groups.mean(1, keepdim=True)) / spread).flatten())
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def sampled_plainly(model: Qwen3ForCausalLM, prompts: list[list[int]], end: int) -> list[list[int]]:
    """A completion of each prompt; what has ended leaves the batch."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    places, rows, cache = (mask.cumsum(1) - 1).clamp(min=0), torch.arange(len(prompts)), None
    made: list[list[int]] = [[] for _ in prompts]
    for _ in range(LONGEST):
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
        output = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        chosen = output.logits[:, -1].softmax(-1).multinomial(1)
        for row, token in zip(rows.tolist(), chosen[:, 0].tolist(), strict=True):
            made[row].append(token)
        on = (chosen[:, 0] != end).nonzero()[:, 0]
        if not len(on):
            break
        cache = output.past_key_values
        cache.batch_select_indices(on)
        rows, ids, places = rows[on], chosen[on], places[on, -1:] + 1
        mask = torch.cat([mask[on], torch.ones(len(on), 1, dtype=torch.long)], 1)
    return made


def update_plainly(model: Qwen3ForCausalLM, prompts: list[list[int]], made: list[list[int]], weights) -> None:
    """Gradients of the weighted log-likelihood, in four passes over responses of like length."""
    order, total = sorted(range(len(made)), key=lambda row: len(made[row])), sum(map(len, made))
    for start in range(0, len(order), len(order) // 4):
        rows = order[start : start + len(order) // 4]
        width = max(len(prompts[row]) + len(made[row]) for row in rows)
        ids, counts = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width)
        for i, row in enumerate(rows):
            own = prompts[row] + made[row]
            ids[i, : len(own)] = torch.tensor(own)
            counts[i, len(prompts[row]) : len(own)] = weights[row]
        logits = model(input_ids=ids).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        ((losses * counts[:, 1:].flatten()).sum() / total).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)


# --- hidden states


def qwen3(layers: int, hidden: int, vocabulary: int = 1000) -> Qwen3ForCausalLM:
    """A Qwen3-architecture model with random weights."""
    torch.manual_seed(0)
    config = Qwen3Config(
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=hidden // 8,
        vocab_size=vocabulary,
        max_position_embeddings=1024,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config).eval()


def prompts() -> tuple[Qwen3ForCausalLM, list[list[int]]]:
    """A model of 28 layers with hidden size 256, and 100 prompts of 8 to 128 tokens."""
    rng = np.random.default_rng(0)
    return qwen3(28, 256), [rng.integers(1, 1000, rng.integers(8, 129)).tolist() for _ in range(100)]


@torch.no_grad()
def published_states(model: Qwen3ForCausalLM, rows: list[list[int]], layers: int) -> None:
    """As described: all texts in one batch, padded left, and the whole pass again for every layer."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    for layer in range(layers):
        states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
        states.float().mean(1).numpy()


@torch.no_grad()
def states() -> None:
    model, ids = prompts()
    batches = hidden_states._batches(ids, 32)

    def bare() -> None:
        for _, batch, mask in batches:
            model.base_model(input_ids=batch, attention_mask=mask, use_cache=False)

    def ours() -> None:
        hidden_states.pooled_states(model, ids, 32)

    ours()
    once, plain = seconds(ours, bare, repeats=5)
    (repeated,) = seconds(lambda: published_states(model, ids, model.config.num_hidden_layers + 1), repeats=1)
    report("hidden states, 28 layers", once, "bare forward passes, same batches", plain, limit=1.15)
    report("hidden states, 28 layers", once, "published procedure", repeated, limit=0.05)
    report("hidden states, 28 layers", _memory("states"), "published procedure", _memory("published"), unit="MB")


# --- measures of hidden states


def latent_measures() -> None:
    """All measures of five layers with their bootstrap, beside the decompositions of all its resamples alone."""
    rng = np.random.default_rng(0)
    before = rng.normal(size=(5, 100, 128))
    after = before + 0.1 * rng.normal(size=before.shape)
    resamples = 100  # as many as the bootstrap has

    def decompositions() -> None:
        for _ in range(resamples):
            drawn = rng.integers(100, size=100)
            for states in (*before[:, drawn], *after[:, drawn]):
                np.linalg.svd(states - states.mean(0), full_matrices=False)

    def ours() -> None:
        latent.by_group({("math",): before}, {("math",): after}, ["group"])

    report("latent_measures", *_between("decompositions of resamples alone", seconds(ours, decompositions)))


# --- divergences


def peak_mb(work: Callable[[], object]) -> float:
    """The most memory that a work takes above what was held before, in MB; measured in this process alone."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def _readouts(n: int) -> tuple[Readout, Readout, torch.Tensor]:
    torch.manual_seed(0)
    weight, hidden = 0.02 * torch.randn(VOCABULARY, HIDDEN), torch.randn(n, HIDDEN)
    tuned = Readout(hidden + 0.1 * torch.randn_like(hidden), weight + 0.001 * torch.randn_like(weight), None)
    return tuned, Readout(hidden, weight, None), torch.randint(VOCABULARY, (n,))


@torch.no_grad()
def divergences_time() -> None:
    tuned, base, observed = _readouts(TOKENS)
    size = divergence._CHUNK_LOGITS // VOCABULARY
    buffer = torch.empty(size, VOCABULARY)

    def logits_alone() -> None:
        for read in (tuned, base):
            for start in range(0, TOKENS, size):
                rows = slice(start, min(start + size, TOKENS))
                readout.logits(read, rows, buffer[: rows.stop - rows.start])

    times = seconds(lambda: divergence.divergences(tuned, base, observed), logits_alone, repeats=2)
    report("KL, JS, ranks of 4096 tokens", *_between("both sets of logits alone", times), limit=1.5)


@torch.no_grad()
def print_memory(which: str) -> None:
    """The memory of one way; run in a process of its own, so that no memory is there to be used again."""
    if which in ("states", "published"):
        model, ids = prompts()
        ways = {"states": lambda: hidden_states.pooled_states(model, ids, 32)}
        ways["published"] = lambda: published_states(model, ids, 1)
    else:
        tuned, base, observed = _readouts(TOKENS)

        def plain() -> None:
            a, b = (torch.mm(read.hidden, read.weight.T).log_softmax(-1) for read in (tuned, base))
            (a.exp() * (a - b)).sum(-1)

        ways = {"divergences": lambda: divergence.divergences(tuned, base, observed), "plain": plain}
    print(peak_mb(ways[which]))


def _memory(which: str) -> float:
    """In MB; nan if the machine has too little for it."""
    command = [sys.executable, __file__, "memory", which]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else float("nan")


def _write(path: Path, rows: list[tuple]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    print(f"written to {path}")


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["memory"]:
        return print_memory(sys.argv[2])
    miniature()
    rl_step()
    imports()
    latent_measures()
    states()
    divergences_time()
    ours, plain = _memory("divergences"), _memory("plain")
    report("KL, JS, ranks of 4096 tokens", ours, "all logits at once", plain, unit="MB")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    _write(OUT, [("name", "ours", "alternative", "other", "unit", "ratio", "limit"), *ROWS])


if __name__ == "__main__":
    main()
