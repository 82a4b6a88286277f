"""`python -m mathtransfer.study plan TIER CORES SUMMARY`: what `make study` would run. `follow`: how far it is."""

from __future__ import annotations

import sys
from pathlib import Path

from mathtransfer.study import grid, progress


def main(command: str, tier_name: str, cores: str, summary: str) -> None:
    """Print the plan and, of a study that runs, its progress.

    Args:
        command: `plan` or `follow`, which reads what Snakemake prints on standard input.
        summary: a file with what `snakemake --summary` said.
    """
    tier, root = grid.read_tier(tier_name), Path("_build", tier_name)
    left = progress.left_to_run(Path(summary).read_text().splitlines())
    print(progress.plan(tier, root, left, int(cores)), flush=True)
    if command == "follow":
        for line in progress.follow(tier, root, left, int(cores), sys.stdin):
            print(line, end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
