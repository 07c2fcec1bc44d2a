"""The page: the same bytes each time, nothing of a text acts, and it reads in any browser without a network."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from langmill.data.cleaning.gopher_quality import GopherQuality, GopherQualityOptions
from langmill.data.document import Document, Split
from langmill.data.report import Report, StepCount
from langmill.data.report.charts import bar, histogram
from langmill.data.report.marks import beside, changed, name, shown
from langmill.data.report.page import page
from langmill.data.report.words import size
from langmill.data.rows import Row
from tests.unit.data.report.conftest import SECRET

pytestmark = pytest.mark.unit
RESULTS = {
    "passed": False,
    "findings": [
        {"expectation": "size", "outcome": "passed", "sentence": "Two.", "limit": "", "rows": []},
        {
            "expectation": "labels", "outcome": "breached", "sentence": "A label <i>too</i> many.", "limit": "stop: 0",
            "rows": [{"where": "a.csv:1", "id": "id-1", "note": "<b>"}, {"where": "b.csv:9", "id": "", "note": SECRET}],
        },
    ],
}  # fmt: skip


class Tags(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_equal_reports_give_equal_bytes(report: Report) -> None:
    assert page(report.as_json(), RESULTS) == page(report.as_json(), RESULTS)


def test_it_loads_nothing_and_nothing_in_a_text_acts(report: Report) -> None:
    text = page(report.as_json(), RESULTS)
    found = Tags(text)
    assert not {"script", "img", "link", "iframe", "object", "b>loud"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert all((value or "").startswith("#") for name, value in found.attributes if name == "href")
    assert "url(" not in text and "@import" not in text
    assert "\u202e" not in text and '<span class="code">U+202E</span>' in text
    assert "w" * 3000 not in text and len(text) < 200_000
    assert SECRET not in text


def test_every_part_that_has_something_to_say(report: Report) -> None:
    text = page(report.as_json(), RESULTS)
    for anchor in (
        "kept", "contract", "lengths", "languages", "labels", "sources", "steps", "duplicates", "privacy", "leakage",
        "quarantine", "samples",
    ):  # fmt: skip
        assert f'<section id="{anchor}"' in text and f'href="#{anchor}"' in text
    assert '<dd class="hint">1 passed, 1 breached</dd>' in text
    assert "The contract is broken: A label &lt;i&gt;too&lt;/i&gt; many." in text
    assert "similarity 0.810" in text and "containment 0.930" in text
    assert 'id="contract"' not in report.as_html()
    assert 'id="removed-lines"' not in text
    assert "Line 9 has 3 cells: x,&lt;EMAIL&gt;" in text


def test_labels_to_look_at(report: Report) -> None:
    report.set_labels(
        {
            "look_alike": [{"1": 20, "1.0": 3}, {"True": 4, "true": 5}], "one_class": [True, False],
            "null_like": {"nan": 3, "None": 1, "": 2}, "taken_for_none": ["nan", ""], "rare": {"meh": 2},
            "contradictory": {"groups": 1, "examples": [{"text": "good", "labels": {"a": 1}, "where": ["x:1"]}]},
        }
    )  # fmt: skip
    assert "Read as no label: nan: 3; (empty): 2." in report.as_markdown()
    text = report.as_html()
    assert "Labels that look alike are different ones: true, True." in text
    for title in (
        "are different labels", "are read as one label", "are labels; labels.map", "Read as no label", "<h3>Rare</h3>",
        "1 text with different labels",
    ):  # fmt: skip
        assert title in text


def test_sources_that_lost_far_more_are_told() -> None:
    report = Report("mixed")
    for source, kept in (("good", 40), ("<bad>", 4)):
        for number in range(40):
            row = Row(f"{source}.txt:{number}", "text", None, None, {})
            report.count_row(row)
            if number < kept:
                report.count_kept(row, Document(f"{source}{number}", "text"), Split.train)
            else:
                report.count_drop("too_short", Split.train, num_bytes=row.num_bytes)
    text = report.as_html()
    assert "Sources that lost far more of their rows than the rest: &lt;bad&gt;.txt (36 of 40)." in text
    assert text.index("&lt;bad&gt;.txt", text.index('id="sources"')) < text.rindex("good.txt")


def test_what_the_loosest_thresholds_judged_is_told_and_too_long_samples_too(tmp_path: Path) -> None:
    report = Report("mixed")
    report.steps = {"gopher_quality": StepCount(), "length": StepCount(dropped=Counter(too_long=1))}
    for number, language in enumerate(("en", "de", "und", "ceb", "ceb")):
        row = Row(f"a.txt:{number}", "text", None, None, {})
        report.count_row(row)
        report.count_kept(row, Document(f"a{number}", "text", metadata={"language": language}), Split.train)
    report.illustrate(tmp_path, {"gopher_quality": GopherQuality(GopherQualityOptions())})
    assert report.as_json()["loosest"] == {"gopher_quality": 3}
    assert "judged by the loosest of all: gopher_quality: 3." in report.as_markdown()
    text = report.as_html()
    assert "3 documents of those kept are of a language without thresholds" in text
    assert '<rect class="dropped" x="0.00" width="20.00" height="8"/>' in text  # one of five rows
    assert text.count("It changed and dropped nothing.") == 1  # and not of the step that dropped one
    assert "None of these documents is short enough to be shown." in text


def test_code_is_set_in_equal_widths() -> None:
    report = Report("code")
    assert "<body>" in report.as_html()
    for number in range(3):
        row = Row(f"a.py:{number}", "def f():\n    return 1", None, None, {})
        report.count_row(row)
        report.count_kept(row, Document(f"f{number}", row.text), Split.train)
    assert '<body class="of-code">' in report.as_html()


def test_an_empty_report_is_a_page_too() -> None:
    assert "<b>0 documents</b> of 0 rows" in Report("none").as_html()


def test_a_bar_is_as_long_as_its_share_and_what_there_is_can_be_seen() -> None:
    assert 'x="25.00" width="50.00"' in bar(0.5, "kept", 0.25)
    assert 'width="0.00"' in bar(0, "kept")
    assert 'x="99.50" width="0.50"' in bar(1e-9, "kept", 1.0)


def test_histograms_are_shares_of_their_own() -> None:
    drawn = histogram([1, 10, 100], {"train": [3, 1], "test": [0, 0]})
    assert drawn is not None
    assert 'd="M0 100V6.25H50.00V68.75H100.00V100"' in drawn.svg  # 75% and 25% of an axis up to 80%
    assert "test" not in drawn.svg
    assert [(tick.at, tick.name) for tick in drawn.x if tick.name in ("1", "10", "100")] == [
        ("0.00", "1"), ("50.00", "10"), ("100.00", "100"),
    ]  # fmt: skip
    assert histogram([], {"train": []}) is None


def test_differences_are_marked() -> None:
    assert changed("one <two> three", "one 2 three") == "one <del>&lt;two&gt;</del><ins>2</ins> three"
    assert changed("a b\n", "a b") == 'a b<del class="space">↵\n</del>'
    assert changed("a xx…", "a yyy…") == "a …"  # both cut: the end says nothing
    assert beside("a b", "a c") == ("a <del>b</del>", "a <ins>c</ins>")


def test_names_are_short_and_invisible_characters_written_out() -> None:
    assert len(name("n" * 1000)) == 81
    assert name("\n") == "(empty)"
    assert shown("a\u200b\ud800\U000e0041") == "".join(
        ["a", *(f'<span class="code">U+{code}</span>' for code in ("200B", "D800", "E0041"))]
    )
    assert shown("नि\u200d👩\u200d👧") == "नि\u200d👩\u200d👧"  # joiners are part of the word


def test_sizes_have_three_digits() -> None:
    assert [size(count) for count in (0, 999, 1000, 999_600, 12_345_678, -45_600)] == [
        "0 B", "999 B", "1 kB", "1 MB", "12.3 MB", "-45.6 kB",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.browser
def test_a_phone_shows_it_whole_and_asks_for_nothing(report: Report, chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(report.as_json(), RESULTS), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    tab, asked, said = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(path.as_uri())
    closed = tab.locator("details:not([open]) > summary")
    for _ in range(closed.count()):
        closed.first.press("Enter")
    assert closed.count() == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert (asked, said) == ([path.as_uri()], [])
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    light = chromium.new_context(color_scheme="light").new_page()
    light.goto(path.as_uri())
    assert light.evaluate("getComputedStyle(document.body).backgroundColor") != background
