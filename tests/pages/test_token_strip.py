"""The token strip: what it writes into the page, and what a reader of that page sees in Chromium."""

import math
import re
from itertools import pairwise

import pandas as pd
import pytest
from elements import HOSTILE, embedded

from mathtransfer.pages.token_strip import token_strip

RANKS = ["rank_tuned", "rank_base", "rank_shift"]
NUMBERS = ["kl", "js", "logp_tuned", "logp_base", "entropy_tuned", "entropy_base"]
TOPS = ["top_tuned", "top_base"]
PIECES = ["<think>", "\n", "So", " the", " answer", " is", "\n\n", "4", "."]


def table(pieces: list[str], text: int = 0, **columns) -> pd.DataFrame:
    """A response with numbers that differ from token to token; the base's favourite at token i is `base i`."""
    n = len(pieces)
    rows = [
        {
            "text": text,
            "position": i,
            "piece": piece,
            "kl": i / 7,
            "js": 0.6 * (n - i) / n,
            "rank_tuned": 0,
            "rank_base": i,
            "rank_shift": i,
            "logp_tuned": math.log(0.61),
            "logp_base": -1.23456 - i,
            "entropy_tuned": 0.1 * i,
            "entropy_base": 1.5,
            "top_tuned": [piece, "other"],
            "top_tuned_p": [0.61, 0.2],
            "top_base": [f"base {i}", "x"],
            "top_base_p": [0.512345, 1.23456e-7],
            "looping": i >= n - 2,
        }
        for i, piece in enumerate(pieces)
    ]
    return pd.DataFrame(rows).assign(**columns)


def luminance(colour: list[float]) -> float:
    """Relative luminance by WCAG 2 of a colour with channels from 0 to 255."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_data_come_back_as_they_were():
    frames = [table(PIECES + HOSTILE, 5), table(["a", "b"], 2)]
    data = embedded(token_strip(pd.concat(frames), {5: "long", 2: "short"}, "x"))
    strings = data["strings"]
    assert len(set(strings)) == len(strings)
    for frame in frames:
        drawn = data["texts"][str(frame["text"].iloc[0])]
        assert [strings[i] for i in drawn["piece"]] == frame["piece"].tolist()
        for name in ("position", "looping", *RANKS):
            assert drawn[name] == frame[name].tolist()
        for name in NUMBERS:
            assert drawn[name] == pytest.approx(frame[name].tolist(), rel=5e-4)
        for name in TOPS:
            for flat, top, likely in zip(drawn[name], frame[name], frame[f"{name}_p"], strict=True):
                assert [strings[i] for i in flat[::2]] == top
                assert flat[1::2] == pytest.approx(likely, rel=5e-3)


def test_no_piece_or_title_ends_its_element():
    html = token_strip(table(HOSTILE), {0: HOSTILE[0]}, '"><script>')
    assert html.count("<script") == html.count("</script>") == 2
    assert html.count("<template>") == html.count("</template>") == 1
    assert "<img" not in html and "<!--" not in html


def test_thousands_of_tokens_stay_small():
    pieces = [f" word{i % 500}" for i in range(4000)]
    top, likely = [f" word{k}" for k in range(5)], [0.123456789 / (k + 1) for k in range(5)]
    lists = {name: [top] * 4000 for name in TOPS} | {f"{name}_p": [likely] * 4000 for name in TOPS}
    tokens = table(pieces, **lists)
    assert len(token_strip(tokens, {0: "long"}, "x")) < 250 * 4000


@pytest.mark.parametrize("measure", ["kl", "js", "rank_shift"])
def test_one_extreme_value_leaves_the_scale_alone(measure):
    tokens = table(PIECES * 10)
    plain = embedded(token_strip(tokens, {0: "a"}, "x"))["ends"][measure]
    tokens.loc[3, measure] = 10**6
    html = token_strip(tokens, {0: "a"}, "x")
    assert embedded(html)["ends"][measure] == pytest.approx(plain, rel=0.05)
    assert "98% quantile of all tokens; the largest is 1,000,000" in html


def test_the_scale_is_of_the_responses_shown():
    tokens = pd.concat([table(PIECES), table(PIECES, 1, kl=50.0), table(PIECES, 2, kl=500.0)])
    assert embedded(token_strip(tokens, {0: "a", 1: "b"}, "x"))["ends"]["kl"] == 50
    assert list(embedded(token_strip(tokens, {1: "b", 0: "a"}, "x"))["texts"]) == ["1", "0"]
    unmoved = table(PIECES, kl=0.0, js=0.0, rank_shift=0)
    assert embedded(token_strip(unmoved, {0: "a"}, "x"))["ends"] == {"kl": 1, "js": 1, "rank_shift": 1}


def test_text_can_be_read_on_every_colour():
    html = token_strip(table(PIECES), {0: "a"}, "x")
    stops = embedded(html)["scale"]
    ink = luminance(list(bytes.fromhex(re.search(r"\.card {[^}]*\bcolor: #(\w{6});", html)[1])))
    mixed = [
        [a + (b - a) * part / 20 for a, b in zip(low, high, strict=True)]
        for low, high in pairwise(stops)
        for part in range(21)
    ]
    shades = [luminance(colour) for colour in mixed]
    assert min((shade + 0.05) / (ink + 0.05) for shade in shades) >= 4.5
    assert shades == sorted(shades, reverse=True)  # darker is more, for eyes that see no colour too
    assert stops[0] == [255, 255, 255]


@pytest.mark.parametrize("column", table(PIECES).columns)
def test_a_missing_column_is_named(column):
    with pytest.raises(ValueError, match=f"^no column {column}: a token strip needs text, "):
        token_strip(table(PIECES).drop(columns=column), {0: "a"}, "x")


@pytest.mark.parametrize(
    ("tokens", "titles", "message"),
    [
        (table(PIECES)[:0], {0: "a"}, "no tokens: a token strip needs at least one response"),
        (table(PIECES), {}, "no titles: a token strip needs at least one response"),
        (table(PIECES), {0: "a", 3: "b"}, r"no tokens for the title of text 3: the table has texts \[0\]"),
        (table(PIECES, piece=None), {0: "a"}, "piece has a missing value"),
        (table(PIECES, kl=math.nan), {0: "a"}, "kl has a value that is not finite"),
        (table(PIECES, logp_base=-math.inf), {0: "a"}, "logp_base has a value that is not finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tokens, titles, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        token_strip(tokens, titles, "x")


def tokens_of(strip):
    return strip.locator("[role=option]")


def panel(strip) -> str:
    return strip.locator(".panel").inner_text()


def colours(strip) -> list[str]:
    return tokens_of(strip).evaluate_all("spans => spans.map(span => getComputedStyle(span).backgroundColor)")


def test_pointing_at_a_token_shows_what_the_base_would_have_said(show):
    strip = show(token_strip(table(PIECES), {0: "a"}, "what it shows")).locator(".token-strip")
    assert strip.get_attribute("aria-label") == "what it shows"
    assert "base·8" in panel(strip)  # it starts with the token that moved most
    tokens_of(strip).nth(3).hover()
    assert strip.locator("[aria-live=polite]").inner_text() == (
        "“·the”, token 3: 61.0 % (rank 0) under the tuned model, 1.45 % (rank 3) under the base."
        " The base would have said “base·3” (51.2 %)."
    )
    base, tuned = (strip.locator(f"ol[data-model={model}] li").all_inner_texts() for model in ("base", "tuned"))
    assert [line.split() for line in base] == [
        ["base·3", "51.2", "%"],
        ["x", "1.2", "×", "10⁻⁷"],
        ["·the", "1.45", "%"],
    ]
    assert strip.locator(".observed").all_inner_texts() == [base[2], tuned[0]]
    cells = strip.locator("[data-name]").evaluate_all("all => all.map(each => [each.dataset.name, each.textContent])")
    assert dict(cells) == {
        "p_base": "1.45 %",
        "p_tuned": "61.0 %",
        "rank_base": "3",
        "rank_tuned": "0",
        "entropy_base": "1.5",
        "entropy_tuned": "0.3",
        "kl": "0.429",
        "js": "0.4",
        "rank_shift": "3 places up",
    }


def test_keys_move_between_tokens(show):
    page = show(token_strip(table(PIECES * 60), {0: "a"}, "x"))
    strip = page.locator(".token-strip")
    said = strip.locator("[aria-live=polite]")
    tokens_of(strip).nth(2).hover()
    page.locator("select").focus()
    page.keyboard.press("Tab")  # one stop for the whole text
    assert "token 2:" in said.inner_text()
    for key, position in [("ArrowRight", 3), ("ArrowLeft", 2), ("Home", 0), ("ArrowLeft", 0), ("End", 539)]:
        page.keyboard.press(key)
        assert f"token {position}:" in said.inner_text()
    page.keyboard.press("Home")
    for _ in range(30):  # the text scrolls under the mouse, which must not take over
        page.keyboard.press("ArrowDown")
    page.wait_for_timeout(200)
    focused = tokens_of(strip).evaluate_all("spans => spans.findIndex(span => span.matches(':focus'))")
    assert focused > 60 and f"token {focused}:" in said.inner_text()
    page.keyboard.press("ArrowUp")
    assert f"token {focused}:" not in said.inner_text()
    assert tokens_of(strip).and_(strip.locator("[tabindex='0']")).count() == 1
    page.keyboard.press("Tab")
    assert not strip.locator(":focus").count()


def test_white_space_shows(show):
    strip = show(token_strip(table(PIECES + HOSTILE), {0: "a"}, "x")).locator(".token-strip")
    shown = tokens_of(strip).evaluate_all("spans => spans.map(span => span.textContent)")
    assert shown[:9] == ["<think>", "↵\n", "So", " the", " answer", " is", "↵\n↵\n", "4", "."]
    assert shown[9:14] == HOSTILE[:5] and shown[-1] == "∅"
    tops = tokens_of(strip).evaluate_all("spans => spans.map(span => span.getBoundingClientRect().top)")
    assert tops[0] < tops[2] == tops[5] < tops[7]
    assert strip.locator(".text .looping").count() == 2
    assert strip.locator(".legend").get_by_text("text that repeats itself").is_visible()


def test_the_measure_chooses_the_colours(show):
    strip = show(token_strip(table(PIECES), {0: "a"}, "x")).locator(".token-strip")
    assert strip.locator("select").count() == 1  # nothing to choose among one response
    white, end = "rgb(255, 255, 255)", "rgb(236, 112, 20)"
    legend = strip.locator("[data-measure]:visible")
    kl = colours(strip)
    assert kl[0] == white and kl[-1] == end and len(set(kl)) == 8  # the two largest have the last colour
    assert "in nats" in legend.inner_text() and "≥ 1" in legend.inner_text()
    strip.locator("select").select_option("js")
    assert colours(strip)[0] == end
    strip.locator("select").select_option("rank_shift")
    assert colours(strip)[0] == white and colours(strip)[-1] == end
    assert colours(strip)[1] not in (white, kl[1])  # logarithmic
    assert "logarithmic" in legend.inner_text()


def test_two_strips_do_not_interfere(show):
    both = pd.concat([table(PIECES), table(["other", " text"], 1)])
    strips = show(*[token_strip(both, {1: "second", 0: "first <b>"}, "same")] * 2).locator(".token-strip")
    left, right = strips.nth(0), strips.nth(1)
    before = panel(right), colours(right)
    assert tokens_of(left).all_inner_texts() == tokens_of(right).all_inner_texts() == ["other", " text"]
    assert left.locator("select[name=text] option").all_inner_texts() == ["second", "first <b>"]
    left.locator("select[name=text]").select_option(label="first <b>")
    left.locator("select[name=measure]").select_option("js")
    tokens_of(left).nth(4).hover()
    assert tokens_of(left).count() == len(PIECES) and "base·4" in panel(left)
    assert (panel(right), colours(right)) == before
    tokens_of(right).nth(0).hover()
    assert "base·0" in panel(right) and "base·4" in panel(left)


def test_a_themes_style_sheet_stays_outside(show):
    strip = token_strip(table(PIECES), {0: "a"}, "x")
    theme = "<style>* { color: white !important; background: black !important; } p { display: none; }</style>"
    shown = show(theme + strip).locator(".token-strip")
    assert colours(shown)[0] == "rgb(255, 255, 255)"
    assert shown.locator(".text").evaluate("box => getComputedStyle(box).color") == "rgb(17, 17, 17)"
    assert shown.locator("[aria-live=polite]").is_visible()


def test_paper_shows_the_whole_text_in_colour(show):
    page = show(token_strip(table(PIECES * 60), {0: "a"}, "x"))
    box = page.locator(".token-strip .text")
    assert box.evaluate("box => box.scrollHeight > box.clientHeight")
    page.emulate_media(media="print")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight")
    assert box.evaluate("box => getComputedStyle(box.firstChild).printColorAdjust") == "exact"
