"""The browser of samples: what it writes into the page, and what a reader of that page can do in Chromium."""

import math
import re

import pandas as pd
import pytest
from elements import HOSTILE, embedded

from mathtransfer.benchmarks.grades import CORRECT, NO_ANSWER, WRONG
from mathtransfer.pages.samples import samples_html

TEXTS = [*HOSTILE, "half a pair: \ud83d"]


STATUSES = [CORRECT, WRONG, NO_ANSWER]


def table(benchmarks: tuple[str, ...] = ("sums", "truth"), questions: int = 4, samples: int = 2) -> pd.DataFrame:
    """In turn a correct answer, a wrong one and none; the prompt is the same for all samples of a question."""
    rows = [(b, q, s) for b in benchmarks for q in range(questions) for s in range(samples)]
    made = pd.DataFrame(rows, columns=["benchmark", "question", "sample"])
    number = made.index.to_series()
    return made.assign(
        group="math",
        prompt=[f"What is {b} {q}?" for b, q, _ in rows],
        completion=[f"Thought {n}.\n\nAnswer {n}" for n in number],
        extracted=number.mask(number % 3 == 2, "").astype(str),
        answer=number.astype(str),
        status=[STATUSES[n % 3] for n in number],
    )


def hostile() -> pd.DataFrame:
    texts = pd.Series(TEXTS, dtype=object)  # pandas' own strings hold no lone surrogate
    return table(("sums",), len(TEXTS), 1).assign(completion=texts, prompt=texts, answer=texts)


def test_all_samples_are_there_and_every_prompt_once():
    samples = table()
    data = embedded(samples_html(samples, "here"))
    assert len(data["prompts"]) == samples["prompt"].nunique() == 8
    assert [data["prompts"][row["prompt"]] for row in data["rows"]] == samples["prompt"].tolist()
    for name in ("benchmark", "completion", "extracted", "answer", "status"):
        assert [row[name] for row in data["rows"]] == samples[name].tolist()


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_a_missing_answer_shows_as_nothing(nothing):
    """As of a response that its budget ended, from which nothing was extracted."""
    samples = table()
    for name in ("extracted", "answer"):
        samples[name] = samples[name].astype(object).mask(samples.index == 1, nothing)
    rows = embedded(samples_html(samples, "here"))["rows"]
    assert rows[1]["extracted"] == rows[1]["answer"] == "" and rows[0]["answer"] == "0"


def test_no_text_ends_its_element():
    html = samples_html(hostile(), "<b>")
    html.encode("ascii")  # a file in any encoding can hold it
    assert html.count("<script") == html.count("</script>") == 2
    assert html.count("<template>") == html.count("</template>") == 1
    assert "<img" not in html and "<!--" not in html
    assert [row["completion"] for row in embedded(html)["rows"]] == TEXTS


def test_what_does_not_fit_is_left_out_evenly_and_said():
    samples = table(("sums", "truth", "boxes"), questions=10, samples=3)
    samples["completion"] = "<" + "x" * 300
    html = samples_html(samples, "samples.parquet <here>", limit=20_000)
    data = embedded(html)
    shown = pd.DataFrame(data["rows"])
    counts = shown.groupby("benchmark").size()
    assert counts.nunique() == 1 and 10 < counts.iloc[0] < 30
    assert shown.groupby("benchmark")["question"].nunique().eq(10).all()  # every question before any question's second
    assert f"{len(shown)} of 90 samples" in html and "samples.parquet &lt;here&gt;" in html
    size = len(re.search(r'"application/json">(.*?)</script>', html)[1])
    assert 18_000 < size <= 20_000
    assert len(embedded(samples_html(samples, "x", limit=10))["rows"]) == 3  # one of each at least
    assert "of 90 samples" not in samples_html(samples, "x")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (table().drop(columns="prompt"), "no column prompt: samples to browse need benchmark, question"),
        (table().drop(columns="status"), "no column status: samples to browse need"),
        (table().iloc[:0], "no sample to show"),
    ],
)
def test_what_cannot_be_shown_is_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        samples_html(samples, "here")


def seen(page) -> dict[str, str]:
    """What the card says now."""
    texts = page.locator(".samples .text").evaluate_all("all => all.map(t => [t.dataset.name, t.textContent])")
    return dict(texts) | {name: page.locator(f".samples [name={name}]").text_content() for name in ("place", "which")}


def test_filters_search_and_steps(show):
    samples = table()
    page = show(samples_html(samples, "here"))
    assert seen(page)["place"] == "1 of 16" and seen(page)["which"] == "sums, question 0, sample 0: correct"
    assert seen(page)["completion"] == samples["completion"][0] and seen(page)["answer"] == "0"
    assert page.get_by_role("button", name="previous").is_disabled()
    page.get_by_role("button", name="next").click()
    assert seen(page)["place"] == "2 of 16" and seen(page)["prompt"] == samples["prompt"][1]

    page.get_by_label("benchmark").select_option("truth")
    page.get_by_label("status").select_option("no answer in the expected format")
    chosen = samples[(samples["benchmark"] == "truth") & (samples["extracted"] == "")]
    for number, row in enumerate(chosen.itertuples(), 1):
        assert seen(page)["place"] == f"{number} of {len(chosen)}"
        assert seen(page)["completion"] == row.completion and seen(page)["extracted"] == ""
        if number < len(chosen):
            page.get_by_role("button", name="next").click()
    assert page.get_by_role("button", name="next").is_disabled()

    page.get_by_label("benchmark").select_option("")
    page.get_by_label("status").select_option("")
    page.get_by_label("search").fill("THOUGHT 13")
    assert seen(page)["place"] == "1 of 1" and seen(page)["completion"] == samples["completion"][13]
    page.get_by_label("search").fill("What is truth 3")
    assert seen(page)["place"] == "1 of 2"
    page.get_by_label("search").fill("nowhere")
    assert seen(page)["place"] == "none found" and seen(page)["prompt"] == seen(page)["which"] == ""
    page.get_by_label("search").fill("")
    assert seen(page)["place"] == "1 of 16"


def test_the_keyboard_is_enough(show):
    page = show(samples_html(table(), "here"))
    page.keyboard.press("Tab")
    for key, place in [("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("ArrowLeft", 1), ("ArrowLeft", 1)]:
        page.keyboard.press(key)
        assert seen(page)["place"] == f"{place} of 16"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("Answer 7")
    page.keyboard.press("ArrowLeft")  # moves in the words, not in the samples
    page.keyboard.type(" ")
    assert page.get_by_label("search").input_value() == "Answer  7"
    page.keyboard.press("Backspace")
    assert seen(page)["place"] == "1 of 1"


def test_hostile_text_is_shown_and_not_run(show):
    page = show(samples_html(hostile(), "here"))
    for text in TEXTS:
        assert seen(page)["completion"] == seen(page)["prompt"] == seen(page)["answer"] == text
        page.locator(".samples").get_by_role("button", name="next").click(force=True)
    assert page.locator("img").count() == 0  # and `open_offline` sees that no script of theirs ran


def test_long_words_wrap_and_two_on_a_page_do_not_interfere(show):
    samples = table().assign(completion="x" * 5000)
    theme = "<style>* { color: white !important; background: black !important; }</style>"
    page = show(theme + samples_html(samples, "a") + samples_html(table(), "b"), width=400)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    first, second = page.locator(".samples").nth(0), page.locator(".samples").nth(1)
    second.get_by_role("button", name="next").click()
    assert second.locator("[name=place]").text_content() == "2 of 16"
    assert first.locator("[name=place]").text_content() == "1 of 16"
    colour = first.locator("[data-name=completion]").evaluate("box => getComputedStyle(box).color")
    assert colour == "rgb(17, 17, 17)"
