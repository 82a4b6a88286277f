"""`python -m mathtransfer report BASE TUNED`: what did my fine-tuning change?

`accelerate launch -m mathtransfer train RECIPE` trains as the notebook `train` does, on several GPUs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Do what the command says; 2, with one sentence on standard error, if that is not possible."""
    parser = argparse.ArgumentParser(prog="mathtransfer")
    commands = parser.add_subparsers(required=True)
    _add_report(commands.add_parser("report", help="compare two checkpoints with the same tokenizer"))
    _add_train(commands.add_parser("train", help="train by a recipe, in as many processes as accelerate started"))
    asked = vars(parser.parse_args(arguments))
    try:
        asked.pop("action")(**asked)
    except (ImportError, ValueError, OSError) as error:
        print("error:", str(error).partition("\n")[0], file=sys.stderr)  # transformers goes on with general advice
        return 2
    return 0


def _add_report(command: argparse.ArgumentParser) -> None:
    command.set_defaults(action=_report)
    command.add_argument("base", help="checkpoint folder or hub id that the model was tuned from")
    command.add_argument("tuned", help="checkpoint folder or hub id of the tuned model")
    command.add_argument("--prompts", default="", metavar="FILE", help="one prompt a line; '# name' begins a group")
    command.add_argument("--suite", default="", help="a benchmark suite to take prompts from")
    command.add_argument("--scores", action="store_true", help="also score both models on the suite")
    command.add_argument("--n", type=_count, default=20, help="prompts of each task of a suite (%(default)s)")
    command.add_argument("--max-tokens", type=_count, default=128, help="longest completion (%(default)s)")
    command.add_argument("--batch-size", type=_count, default=16, help="texts in one forward pass (%(default)s)")
    command.add_argument("--chat", action="store_true", help="put prompts into the chat template, for scores too")
    command.add_argument("--one-by-one", action="store_true", help="hold one model at a time, for half the memory")
    command.add_argument("--seed", type=int, default=0, help="for the sampled completions (%(default)s)")
    command.add_argument("--out", default="report", help="the folder to write (%(default)s)")


def _report(**asked) -> None:
    """Write the report and print its findings."""
    asked["together"] = not asked.pop("one_by_one")
    os.environ["TQDM_DISABLE"] = "1"  # the libraries' bars, below our own lines of progress
    from mathtransfer import report  # here, so that help and usage errors come at once

    _, findings, _ = report.run(**asked)
    print("\n".join(f"- {finding.sentence}" for finding in findings))
    print(f"{asked['out']}/report.html and {asked['out']}/report.json")


def _add_train(command: argparse.ArgumentParser) -> None:
    command.set_defaults(action=_train)
    command.add_argument("recipe", type=Path, help="a file of config/recipes")
    command.add_argument(
        "-p", dest="changes", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="change a value"
    )
    command.add_argument("--out", required=True, help="the run folder to write")


def _train(recipe: Path, changes: list[list[str]], out: str) -> None:
    """Train by a recipe, some of whose values are given anew."""
    import yaml

    from mathtransfer.training import post_training, recipes

    given = recipes.read_recipe(recipe, {name: yaml.safe_load(text) for name, text in changes})
    post_training.run(given | {"out": out})


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
