"""What the task files beside this one call."""

from mathtransfer.benchmarks import instructions
from mathtransfer.benchmarks.choices import gpqa_row, mc_taco_row  # noqa: F401
from mathtransfer.benchmarks.code import code_prompt  # noqa: F401
from mathtransfer.benchmarks.conversation import coqa_row  # noqa: F401
from mathtransfer.benchmarks.mathematics import olympiad_row  # noqa: F401
from mathtransfer.benchmarks.sources import dataset, record  # noqa: F401

instructions.offline_checkers()  # before lm-evaluation-harness loads its own task, which would download them
