"""`python -m mathtransfer.study`, for the Makefile.

plan TIER CORES SUMMARY    what `make study` would run
follow TIER CORES SUMMARY  how far it is
record TIER                what is finished, to the record
crate TIER                 a finished study as a Workflow Run RO-Crate
ship TIER                  what chapters read of a finished study, to what ships with the package
"""

from __future__ import annotations

import sys
from pathlib import Path

from mathtransfer.study import grid, progress, record, shipping


def main(command: str, tier_name: str, cores: str = "", summary: str = "") -> None:
    """Print the plan, and the progress of a study that runs; or write its record, its crate, or the tables that ship.

    Args:
        command: `plan`; `follow`, which reads what Snakemake prints on standard input; `record`; `crate`; or `ship`.
        summary: a file with what `snakemake --summary` said.
    """
    tier, root = grid.read_tier(tier_name), Path("_build", tier_name)
    if command == "record":
        missing = record.write_record(tier, root)
        of_all = len(tier.runs["evaluate"])
        print(f"{tier.record} has {of_all - len(missing)} of {of_all} models")
        return
    if command == "crate":
        from mathtransfer.study import crate  # here, because only the extra `book` has its library

        print(crate.write(root))
        return
    if command == "ship":
        size = shipping.ship(tier, root, folder := Path("results", tier_name))
        print(f"{folder}: {size / 1e6:.1f} MB")
        return
    left = progress.left_to_run(Path(summary).read_text().splitlines())
    print(progress.plan(tier, root, left, int(cores)), flush=True)
    if command == "follow":
        for line in progress.follow(tier, root, left, int(cores), sys.stdin):
            print(line, end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
