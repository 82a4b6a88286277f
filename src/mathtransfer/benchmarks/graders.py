"""One response to one question, graded by one reading.

`strict` wants the answer where it was asked for, after thinking has ended. `lenient` takes the last answer anywhere.
`harness` does what the paper's harness does (evalchemy or lm-evaluation-harness, as the benchmark's task file says).
A grader returns `status`, `followed` (how much of what was asked was done: 1 for a correct answer, the number of
instructions for IFEval, a share for CoQA) and `extracted`, the answer it found. A response can hold anything, so
graders run in a process with limits: see `pool`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG
from mathtransfer.models.thinking import split_thinking

BOX = r"\\f?box(?:ed)?\s*\{\s*(?:\\(?:text|textbf|mathrm|mathbf)\s*\{)?\s*\(?"
BOXED_LETTER = re.compile(rf"{BOX}([A-D])\b")
FINAL_LETTER = re.compile(rf"(?:{BOX}|(?i:answer)\W{{0,8}}(?i:is\W{{0,8}})?)([A-D])\b")
YES_NO = re.compile(r"\b(?:yes|no)\b")


# --- mathematics


def last_boxed(text: str) -> str | None:
    """What stands in the last complete \\boxed{...} or \\fbox{...}, or None."""
    for start in reversed([match.end() for match in re.finditer(r"\\f?box(?:ed)?\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start:end]
    return None


def grade_math(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to a mathematics problem; the gold answer is LaTeX."""
    if reading == "harness":
        return _harness_math(response, gold, _same_text)
    answer = split_thinking(response, thinks)[1]
    if reading == "lenient" and not answer.strip():
        answer = response
    boxed = last_boxed(answer)
    if boxed is None and reading == "strict":
        return _graded(NO_ANSWER)
    text = answer if boxed is None else f"\\boxed{{{boxed}}}"
    return _graded(_verify(text, gold), boxed)


def grade_olympiad(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to a problem of OlympiadBench, whose gold answers stand between dollars and may be lists."""
    if reading == "harness":
        return _harness_math(response, gold, _same_olympiad_text)
    return grade_math(response, gold.replace("$", ""), thinks, reading)


def _graded(status: str, extracted: str | None = None) -> dict:
    return {"status": status, "followed": int(status == CORRECT), "extracted": extracted}


def _verify(text: str, gold: str) -> str:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    found = parse(text, [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()], parsing_timeout=None)
    if not found:
        return NO_ANSWER
    return CORRECT if verify(_parsed_gold(gold), found, timeout_seconds=None) else WRONG


@cache
def _parsed_gold(gold: str) -> list:
    from math_verify import parse

    return parse(f"\\boxed{{{gold}}}", parsing_timeout=None)


def _harness_math(response: str, gold: str, same: Callable[[str, str], bool]) -> dict:
    """As evalchemy's MATH500: the last \\boxed of the whole output, compared as normalised text."""
    from lm_eval.tasks.hendrycks_math.utils import last_boxed_only_string, remove_boxed

    try:
        answer = remove_boxed(last_boxed_only_string(response))
    except (AssertionError, TypeError):  # what evalchemy catches: nothing boxed, or boxed without braces
        return _graded(NO_ANSWER)
    return _graded(CORRECT if same(gold, answer) else WRONG, answer)


def _same_text(gold: str, answer: str) -> bool:
    from lm_eval.tasks.hendrycks_math.utils import is_equiv

    return is_equiv(gold, answer)


def _same_olympiad_text(gold: str, answer: str) -> bool:
    """The authors' task drops leading zeros and a fraction of zeros first."""
    return _same_text(*(re.sub(r"^([^.]*)\.0*$", r"\1", text.lstrip("0")) for text in (gold, answer)))


# --- following instructions


def offline_ifeval():
    """lm-evaluation-harness's IFEval checkers, imported so that nothing is downloaded.

    They ask NLTK for its sentence splitter. Where its trained parameters (`punkt_tab`) are not installed, ours stand
    in: the same algorithm with a short list of English abbreviations.
    """
    import langdetect
    import nltk

    ours = str(Path(__file__).parent / "nltk_data")
    if ours not in nltk.data.path:
        nltk.data.path.append(ours)
    langdetect.DetectorFactory.seed = 0
    from lm_eval.tasks.ifeval import utils

    return utils


def grade_ifeval(response: str, gold: dict, thinks: bool, reading: str) -> dict:
    """One response to an IFEval prompt: correct if all instructions are followed.

    The checkers draw an argument at random where a record's own is missing or not what they expect (one asks how often
    the letter "#" stands in the text), so the draw is seeded by the record's key.
    """
    checkers = offline_ifeval()
    random.seed(gold["key"])
    text = response if reading == "harness" else split_thinking(response, thinks)[1]
    loose, strict = checkers.test_instruction_following_loose, checkers.test_instruction_following_strict
    check = loose if reading == "lenient" else strict
    given = checkers.InputExample(gold["key"], gold["instruction_id_list"], gold["prompt"], gold["kwargs"])
    followed = check(given, text).follow_instruction_list
    status = NO_ANSWER if not re.search(r"\w", text) else CORRECT if all(followed) else WRONG
    return {"status": status, "followed": sum(followed), "extracted": None}


# --- a letter, a word, a phrase


def grade_choice(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to GPQA, which asks for a letter in a box.

    The harness reading is evalchemy's: the last capital A, B, C or D that stands alone, in the text made capital, so
    that the article "a" counts.
    """
    if reading == "harness":
        letters = re.findall(r"\b(A|B|C|D)\b", response.upper())
    else:
        letters = BOXED_LETTER.findall(split_thinking(response, thinks)[1])
    return _letter(letters, gold)


def grade_planning(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to ACPBench, whose two examples end in "**Final Answer**: D."; a letter in a box counts too.

    The harness reading is lm-evaluation-harness's: its pattern's last match, which is mostly the last capital A to D
    anywhere, case and punctuation aside. (Where nothing matches it looks for a choice's text; not done here.)
    """
    if reading == "harness":
        matches = [next(filter(None, match), "") for match in _planning_pattern().findall(response)]
        return _letter([re.sub(r"\W", "", match).upper() for match in matches], gold)
    answer = split_thinking(response, thinks)[1]
    return _letter(FINAL_LETTER.findall(answer) or re.findall(r"^\W*([A-D])\W*$", answer), gold)


def _letter(letters: list[str], gold: str) -> dict:
    if not letters or letters[-1] not in set("ABCD"):
        return _graded(NO_ANSWER)
    return _graded(CORRECT if letters[-1] == gold else WRONG, letters[-1])


@cache
def _planning_pattern() -> re.Pattern:
    """What lm-evaluation-harness looks for in an ACPBench response, from its own task file."""
    import lm_eval.tasks
    import yaml

    file = Path(lm_eval.tasks.__file__).parent / "acpbench/mcq_cot_2shot/_mcq_cot_2shot_yaml"
    return re.compile(yaml.safe_load(file.read_text())["filter_list"][0]["filter"][0]["regex_pattern"])


def grade_judgement(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to HaluEval, which asks for "Yes" or "No".

    Strict: the one of both words, in any case, that the first line of the answer has, or else the whole answer; no
    answer where both or neither stand there. The harness reading is the authors': the first line of the whole output,
    and "Yes" or "No" as written there, even inside another word.
    """
    if reading == "harness":
        line = response.strip().split("\n")[0]
        found = [word.lower() for word in ("Yes", "No") if word in line]
        return _word(found, gold)
    answer = split_thinking(response, thinks)[1].strip()
    first = set(YES_NO.findall(answer.split("\n")[0].lower()))
    return _word(list(first if len(first) == 1 else set(YES_NO.findall(answer.lower()))), gold)


def _word(found: list[str], gold: str) -> dict:
    if len(found) != 1:
        return _graded(NO_ANSWER)
    return _graded(CORRECT if found[0] == gold else WRONG, found[0])


def grade_coqa(response: str, gold: list[str], thinks: bool, reading: str) -> dict:
    """One response to the last question of a CoQA conversation.

    Strict: the first line of the answer is one of the annotators' answers, case, articles and punctuation aside
    (SQuAD's exact match). The harness reading is the benchmark's own: the mean over annotators of the match with any
    of the others' answers, as a person's answer would be scored, so that the best there is can be below 1.
    """
    from lm_eval.tasks.coqa.utils import em
    from transformers.data.metrics.squad_metrics import compute_exact

    text = response if reading == "harness" else split_thinking(response, thinks)[1]
    line = text.strip().split("\n")[0]
    if not re.search(r"\w", line):
        return _graded(NO_ANSWER)
    followed = em(gold, line) if reading == "harness" else max(compute_exact(answer, line) for answer in gold)
    return {"status": CORRECT if followed else WRONG, "followed": followed, "extracted": line}


# --- the others


def grade_likeliest(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """A choice that was taken by its likelihood, and not written: no format can fail."""
    return _graded(CORRECT if response == gold else WRONG, response)


def grade_miniature(response: str, gold: str, thinks: bool, reading: str) -> dict:
    """One response to a question of the miniature world, whose models do not think: all readings are the same."""
    from mathtransfer.benchmarks.miniature import correct, extract

    status = CORRECT if correct(response, gold) else WRONG if extract(response) else NO_ANSWER
    return _graded(status, extract(response))
