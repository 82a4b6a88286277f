"""What the task files beside this one call."""

from mathtransfer.benchmarks.sources import dataset, record  # noqa: F401
