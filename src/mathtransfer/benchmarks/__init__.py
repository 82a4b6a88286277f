"""Questions put to a model, and what its answers are worth.

suites/           a benchmark as a task file of lm-evaluation-harness
sources.py        the rows of a benchmark, from the hub or a folder
questions.py      a suite's questions as they are sent to a model
evaluate.py       a suite on a model: answers, grades, scores
shares.py         a share with its standard error
pool.py           the isolated processes that grade
grades.py         what a grade says, and the readings that may differ
mathematics.py    MATH-500, AIME, OlympiadBench: rows and graders, as in each file below
choices.py        GPQA, ACPBench, HEAD-QA, MC-TACO, HaluEval
conversation.py   CoQA
instructions.py   IFEval
code.py           LiveCodeBench
miniature.py      the miniature's families
sandbox.py        model-written code, isolated
regrading.py      the authors' released generations, graded again
"""
