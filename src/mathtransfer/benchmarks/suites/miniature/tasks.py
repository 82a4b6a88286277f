"""What the task files beside this one call."""

from mathtransfer.benchmarks.miniature import dataset  # noqa: F401
