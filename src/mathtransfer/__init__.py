"""Reproducing "Does Math Reasoning Improve General LLM Capabilities?" (arXiv 2507.00432), claim by claim."""

__version__ = "0.1.0"

GROUPS = ["math", "other", "non"]  # the paper's groups of benchmarks, in its order
GROUP_TITLES = {"math": "mathematics", "other": "other reasoning", "non": "non-reasoning"}
