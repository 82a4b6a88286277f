"""The built book, opened from the file system without a network."""

import shutil

import pytest

pytestmark = pytest.mark.xdist_group("study")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def test_every_page_is_whole_offline(smoke_study, browser):
    html = smoke_study / "html"
    pages = [*html.glob("notebooks/*/*.html"), *html.glob("book/*.html"), html / "index.html"]
    assert len(pages) >= 12
    drawn = 0
    for path in pages:
        page = browser.new_page()
        outside, errors = [], []
        page.on(
            "request", lambda r, seen=outside: seen.append(r.url) if not r.url.startswith(("file:", "data:")) else None
        )
        page.on("console", lambda m, seen=errors: seen.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e, seen=errors: seen.append(str(e)))
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")
        charts = page.locator('[id^="altair-viz"]')
        if charts.count():
            page.wait_for_function(
                "() => [...document.querySelectorAll('[id^=altair-viz]')].every(d => d.querySelector('canvas, svg'))",
                timeout=20_000,
            )
        drawn += charts.count()
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=20_000)
        assert not outside, f"{path.name} asks the network for {outside[:3]}"
        assert not errors, f"{path.name} logs {errors[:3]}"
        page.close()
    assert drawn >= 10


def test_charts_have_alternative_text(smoke_study, browser):
    page = browser.new_page()
    page.goto((smoke_study / "html/notebooks/chapters/controlled_study.html").as_uri())
    page.wait_for_selector(".vega-embed canvas, .vega-embed svg")
    labels = page.locator(".vega-embed [role='graphics-document'], .vega-embed canvas").evaluate_all(
        "nodes => nodes.map(n => n.getAttribute('aria-label') || n.parentElement.getAttribute('aria-label'))"
    )
    assert any(label and "accuracy" in label.lower() for label in labels)
    page.close()
