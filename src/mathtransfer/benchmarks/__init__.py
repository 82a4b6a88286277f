"""Questions put to a model, and what its answers are worth.

suites/           a benchmark as a task file of lm-evaluation-harness
evaluate.py       a suite on a model: prompts, answers, scores
sources.py        the rows of a benchmark, from the hub or a folder
pool.py           the isolated processes that grade
grades.py         what a grade says
graders.py        one response, graded by one reading
livecodebench.py  LiveCodeBench: rows, prompt, grader
miniature.py      the miniature's families as benchmarks
sandbox.py        model-written code, isolated
"""
