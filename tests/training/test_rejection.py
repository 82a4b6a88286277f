"""A teacher's responses are verified and kept as said, and an interrupted run goes on."""

import math
from pathlib import Path

import pandas as pd
import pytest
from conftest import kill_once, papermill, run
from problem_rows import ROWS, written
from tiny import qwen3
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mathtransfer import runs
from mathtransfer.benchmarks import evaluate
from mathtransfer.miniature import vocabulary
from mathtransfer.models import engines
from mathtransfer.models.engines import Completion
from mathtransfer.models.prompting import ChatFormat
from mathtransfer.training import rejection
from mathtransfer.training.problems import Problems, ask, read_problems

TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}]{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
OUTCOMES = ["verified", "wrong", "no answer", "not graded", "unfinished"]
UNFINISHED = object()  # before a text that the budget ended
HOSTILE = "\\boxed{((99!)!)!}"


class KnownTexts:
    """An engine that writes known texts, one a prompt; a text's tokens are its characters."""

    tokenizer, budget = vocabulary.build_tokenizer(), 100_000

    def __init__(self, texts: list):
        self.texts, self.asked = iter(texts), []

    def complete(self, prompts, decoding, seed=0):
        self.asked.append(len(prompts))
        return [self._complete() for _ in prompts]

    def _complete(self):
        text = next(self.texts)
        finished = text is not UNFINISHED
        text = text if finished else next(self.texts)
        return Completion([0] * len(text), [0.0] * len(text), text, finished)


def sampled(engine, problems: Problems, folder: Path, samples: int, **chat) -> pd.DataFrame:
    asked = ask(problems, engine.tokenizer, ChatFormat(**chat), engine.budget)
    settings = {"grader": problems.grader, "temperature": 0.6, "top_p": 0.95, "seed": 0}
    return rejection.sample(engine, asked, samples=samples, folder=folder, **settings)


# --- what is verified and kept


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> pd.DataFrame:
    """Four responses to each of three problems."""
    folder = tmp_path_factory.mktemp("known")
    texts = [
        *("no box: 2", "It is \\boxed{2}.", "\\boxed{2.0}", UNFINISHED, "\\boxed{2}, but wait"),
        *("\\boxed{2}", "\\boxed{1/3}", "\\boxed{\\frac{1}{4}}", "\\boxed{0.5}? No, </think> \\boxed{4}"),
        *(HOSTILE, "\\boxed{7}", "<think>\\boxed{6}", "<think>\\boxed{7}?</think> So \\boxed{6}"),
    ]
    problems = read_problems(written(folder / "known.jsonl", ROWS), None)
    return sampled(KnownTexts(texts), problems, folder / "responses", 4)


@pytest.mark.slow
def test_statuses(known):
    expected = ["no answer", "verified", "verified", "unfinished"]
    expected += ["wrong"] * 4
    expected += ["not graded", "wrong", "no answer", "verified"]
    assert list(known["status"]) == expected
    assert list(known["question"]) == [0] * 4 + [1] * 4 + [2] * 4
    assert list(known["sample"]) == [0, 1, 2, 3] * 3
    assert list(known["tokens"]) == [len(text) for text in known["completion"]]


@pytest.mark.slow
def test_acceptance_by_hand(known):
    one, two = rejection.acceptance(known).to_dict("records")
    assert {name: one[name] for name in ("source", "level", "problems", "samples", "solved")} == {
        "source": "known",
        "level": "1",
        "problems": 2,
        "samples": 8,
        "solved": 1,
    }
    assert [one[name] for name in OUTCOMES] == [2, 4, 1, 0, 1]
    assert [two[name] for name in OUTCOMES] == [1, 1, 1, 1, 0]
    assert one["accepted"] == 25 and one["accepted_stderr"] == pytest.approx(25)  # of 50% and 0%
    assert one["solved_share"] == 50 and one["solved_stderr"] == pytest.approx(50)
    assert two["accepted"] == 25 and two["solved_share"] == 100 and math.isnan(two["accepted_stderr"])


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1, 2])
def test_the_first_verified_are_kept(known, keep):
    sft = rejection.select(known, keep)
    two = "<think>\\boxed{7}?</think> So \\boxed{6}"
    first = [("What is $1+1$?", "2", "It is \\boxed{2}."), ("What is $1+1$?", "2", "\\boxed{2.0}")][:keep]
    expected = [*first, ("What is $2 \\cdot 3$?", "6", two)]
    assert list(sft[["problem", "answer", "response"]].itertuples(index=False, name=None)) == expected


@pytest.mark.slow
def test_lengths_and_what_selection_does_by_hand(known):
    tokens = known["tokens"]
    lengths = rejection.lengths(known).set_index(["row", "setting"])
    assert lengths.loc[("known, level 1", "verified"), "median"] == (tokens[1] + tokens[2]) / 2
    rejected = tokens[[0, 3, 4, 5, 6, 7]]
    assert tuple(lengths.loc[("known, level 1", "rejected"), ["low", "high"]]) == tuple(rejected.quantile([0.25, 0.75]))
    said = " ".join(rejection.selection(known))
    assert "3 of 12 responses are verified, and 2 of 3 problems have a verified one" in said
    assert "100% of those of known, level 2 have a verified response, 50% of those of known, level 1" in said
    differences = [(tokens[1] + tokens[2] - tokens[0] - tokens[3]) / 2, tokens[11] - tokens[8:11].mean()]
    assert f"{sum(differences) / 2:+.1f} tokens" in said and "2 problems have both" in said


def test_lengths_are_compared_within_problems():
    """Hard problems have long responses and fewer verified ones, yet within each the verified are longer by 2."""
    rows = [
        (question, 10 * question + 2 * verified, rejection.VERIFIED if verified else "wrong", sample)
        for question in range(1, 7)
        for sample, verified in enumerate([True] * (7 - question) + [False] * question)
    ]
    table = pd.DataFrame(rows, columns=["question", "tokens", "status", "sample"]).assign(source="x", level="")
    by_status = table.groupby(table["status"] == rejection.VERIFIED)["tokens"].mean()
    assert by_status[True] < by_status[False]
    assert "verified responses are longer than rejected ones: +2.0 tokens" in rejection.selection(table)[-1]


def test_a_prompt_that_opens_the_thinking(tmp_path):
    """What follows is thought up to its end; the opening tag is part of what is to be learnt."""
    tokenizer = vocabulary.build_tokenizer()
    tokenizer.chat_template = "{{ messages[-1].content }}\n<think>\n"
    engine = KnownTexts(["\\boxed{3}? </think>\\boxed{2}", "\\boxed{2}, I think"])
    engine.tokenizer = tokenizer
    problems = read_problems(written(tmp_path / "one.jsonl", ROWS[:1]), None)
    table = sampled(engine, problems, tmp_path / "responses", 2, chat=True)
    assert list(table["status"]) == ["verified", "no answer"]
    assert list(rejection.select(table, 1)["response"]) == ["<think>\n\\boxed{3}? </think>\\boxed{2}"]


# --- a model with a chat template


@pytest.fixture(scope="module")
def chatting(tmp_path_factory) -> str:
    """A small model with random weights, whose tokens are bytes, and whose template can switch thinking."""
    folder = str(tmp_path_factory.mktemp("chatting"))
    words = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytes_only = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="<eos>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    qwen3(len(words), eos_token_id=0, max_position_embeddings=400).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("think", "ending"),
    [(True, "[assistant]\n"), (False, "[assistant]\n<think>\n\n</think>\n\n"), (None, "[assistant]\n")],
)
def test_thinking_is_switched_in_the_template(chatting, tmp_path, think, ending):
    engine = engines.load_engine("transformers", chatting, budget=200)
    problems = read_problems(written(tmp_path / "rows.jsonl", ROWS), 2)
    table = sampled(engine, problems, tmp_path / "responses", 2, chat=True, think=think, system="Be brief.")
    asked = "Please reason step by step, and put your final answer within \\boxed{}."
    assert list(table["prompt"].unique()) == [
        f"[system]Be brief.\n[user]{row['problem']}\n{asked}\n{ending}" for row in ROWS[:2]
    ]
    assert list(table["prompt_tokens"]) == [len(prompt.encode()) for prompt in table["prompt"]]
    assert (table["prompt_tokens"] + table["tokens"]).max() == 200
    assert set(table["status"]) <= {"no answer", "unfinished"}
    sft = rejection.select(table, 1)
    assert sft.empty and list(sft)[:3] == ["problem", "answer", "response"]
    assert "Too few problems" in rejection.selection(table)[-1]


def test_bad_parameters_are_refused():
    plain = ChatFormat()
    with pytest.raises(ValueError, match="keep is 3: of 2 samples a problem, from 1 to 2 can be kept"):
        rejection.check(2, 3, 0.6, plain)
    with pytest.raises(ValueError, match="at temperature 0 all 2 samples of a problem are the same"):
        rejection.check(2, 1, 0.0, plain)
    with pytest.raises(ValueError, match="think and system_prompt are the chat template's"):
        rejection.check(2, 1, 0.6, ChatFormat(think=False))


# --- the whole run


def test_finished_chunks_are_not_asked_again(tmp_path):
    problems = read_problems("miniature", 150)
    texts = [f"answer {answer}" for answer in problems.table["answer"]]

    class Killed(KnownTexts):
        def complete(self, prompts, decoding, seed=0):
            if self.asked:
                raise KeyboardInterrupt
            return super().complete(prompts, decoding, seed)

    with pytest.raises(KeyboardInterrupt):
        sampled(Killed(texts), problems, tmp_path / "cut", 1)
    rest = KnownTexts(texts[engines._CHUNK :])
    resumed = sampled(rest, problems, tmp_path / "cut", 1)
    assert rest.asked == [600 - engines._CHUNK]
    assert list(resumed["completion"]) == texts
    assert (resumed["status"] == rejection.VERIFIED).all()


@pytest.mark.slow
def test_a_killed_notebook_goes_on_and_gives_the_same_tables(base, tmp_path):
    """The notebook's defaults, killed with -9 after the first of two chunks, against the functions in this process."""
    out, copy = tmp_path / "run", tmp_path / "copy.ipynb"
    command = papermill("runs/rejection", copy, out=out)
    kill_once(command, (tmp_path / "run.partial" / runs.RESUME / "000000.parquet").is_file)
    assert not out.exists()
    done = run(command)
    assert done.returncode == 0, done.stderr[-2000:]

    problems = read_problems("miniature", 40)
    table = sampled(engines.Transformers(*base, 200), problems, tmp_path / "responses", 4)
    kept = pd.read_parquet(out / "samples.parquet")
    pd.testing.assert_frame_equal(kept, table, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "sft.parquet"), rejection.select(table, 1), check_dtype=False)
    acceptance = pd.read_csv(out / "acceptance.csv")
    assert acceptance["verified"].min() > 0 and (acceptance[OUTCOMES].sum(axis=1) == 160).all()
    for row in acceptance.itertuples():
        own = table[table["source"] == row.source]
        right = own["completion"].str.rpartition("answer ")[2].str.strip() == own["answer"]
        value, stderr = evaluate._summarise(right.astype(float), pd.Series(1, index=own.index), own["question"])
        assert (row.accepted, row.accepted_stderr) == pytest.approx((value, stderr))
    manifest = runs.read_manifest(out, "rejection")
    assert (
        manifest["data"] == {"miniature": "made by the package"}
        and manifest["removed"] == {}
        and manifest["placement"]["attention"] == "sdpa"
    )
    assert {path.name for path in out.iterdir()} == {
        "acceptance.csv",
        "identity.json",
        "manifest.json",
        "samples.parquet",
        "sft.parquet",
    }
