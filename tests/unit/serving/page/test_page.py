"""The page in a browser: keys, writing, settings, errors, the way it looks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.serving.conftest import Writer
from tests.unit.serving.page.conftest import Tab, publish
from tests.unit.serving.small_server import KEY, MAX_LENGTH, SmallServer

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
expect = sync_api.expect
pytestmark = [pytest.mark.unit, pytest.mark.browser]
PHONE = {"width": 390, "height": 780}
PALE = """() => {
  const light = (color) => color.slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const parsed = (color) => { const found = color.match(/[\\d.]+/g).map(Number); return [...found, 1].slice(0, 4); };
  const over = (front, back, share) => back.map((value, index) => front[index] * share + value * (1 - share));
  const found = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility() || node.closest("button:disabled")) continue;
    let back = [255, 255, 255], share = 1;
    const around = [];
    for (let each = node; each; each = each.parentElement) around.unshift(getComputedStyle(each));
    for (const { backgroundColor, opacity } of around) {
      const color = parsed(backgroundColor);
      back = over(color, back, color[3]);
      share *= Number(opacity);
    }
    const front = over(parsed(getComputedStyle(node).color), back, share);
    const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
    if ((bright + 0.05) / (dark + 0.05) < 4.5) found.add(text);
  }
  return [...found];
}"""
"""Texts that stand out too little from what is behind them."""


def test_it_asks_for_the_key_and_says_when_it_is_wrong(chromium: Any, site: SmallServer) -> None:
    page = chromium.new_page()
    page.goto(site.url)
    expect(page.get_by_label("This server wants a key")).to_be_focused()
    page.keyboard.type("another")
    page.keyboard.press("Enter")
    page.get_by_label("The server does not know this key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator("[data-model]")).to_have_count(5)
    expect(page.locator("#key")).to_be_hidden()
    assert page.locator("#links").is_hidden(), "links carry no key"
    page.close()


def test_a_text_grows_while_it_is_written_and_can_be_stopped(tab: Tab, site: SmallServer, slow: Writer) -> None:
    tab.open("gru")
    box, answer = tab.page.get_by_label("The beginning of a text"), tab.page.locator(".answer")
    box.fill("Once ")
    tab.page.keyboard.press("Control+Enter")
    expect(answer).to_contain_text("Once abc")
    seen = len(answer.text_content())
    tab.until(lambda: len(answer.text_content()) > seen)
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator(".facts")).to_contain_text("stopped")
    tab.until(lambda: site.engine.load == 0)
    expect(tab.button("Write on")).to_be_visible()
    assert "Once abc" in answer.text_content()

    tab.button("Write on").click()
    expect(tab.page.locator(".facts")).to_contain_text("cut at the limit")
    expect(tab.page.locator(".facts")).to_contain_text(re.compile(r"gru version 2.*64 tokens.*tokens/s"))
    tab.button("Go on from here").click()
    tab.until(lambda: len(tab.asked("/v1/completions")) == 3)
    assert tab.asked("/v1/completions")[-1]["prompt"] == "Once " + slow.text[:64]
    tab.button("Stop").click()


def test_another_model_stops_the_one_that_writes_and_nothing_is_lost(tab: Tab, site: SmallServer, slow: Writer) -> None:
    tab.open("gru")
    box = tab.page.get_by_label("The beginning of a text")
    box.fill("Mine")
    tab.button("Write on").click()
    expect(tab.page.locator(".answer")).to_contain_text("Mineab")
    tab.open("judge")
    tab.until(lambda: site.engine.load == 0)
    expect(tab.page.locator(".bar.best")).to_be_visible()
    tab.open("gru")
    expect(box).to_have_value("Mine")
    expect(tab.page.locator(".answer")).to_contain_text("Mineab")
    assert tab.page.url.endswith("#gru/text")


def test_another_version_comes_while_one_types(tab: Tab, site: SmallServer) -> None:
    tab.open("writer")
    box = tab.page.get_by_label("The beginning of a text")
    box.fill("Half a sen")
    box.focus()
    publish(site, "writer", 2)
    tab.page.dispatch_event("html", "visibilitychange")  # it looks every few seconds, and when one comes back to it
    pill = tab.page.locator("[data-model=writer]")
    expect(pill).to_contain_text("version 2")
    assert "swapped" in pill.get_attribute("class")
    tab.page.keyboard.type("tence")
    expect(box).to_have_value("Half a sentence")
    tab.page.keyboard.press("Control+Enter")
    expect(tab.page.locator(".facts")).to_contain_text("writer version 2")
    publish(site, "writer", 1)


def test_a_model_that_goes_keeps_its_place_and_what_was_typed(tab: Tab, site: SmallServer) -> None:
    """As while the server starts again, when one model is loaded after the other."""
    tab.open("writer")
    box = tab.page.get_by_label("The beginning of a text")
    box.fill("Half a sen")

    def without(route: Any) -> None:
        found = route.fetch()
        models = found.json()
        route.fulfill(json={**models, "data": [each for each in models["data"] if each["id"] != "writer"]})

    tab.page.route("**/v1/models", without)
    tab.page.dispatch_event("html", "visibilitychange")
    pill = tab.page.locator("[data-model=writer]")
    expect(pill).to_contain_text("not in service")
    expect(pill).to_have_attribute("aria-pressed", "true")
    expect(box).to_have_value("Half a sen")
    tab.page.unroute("**/v1/models")
    tab.page.dispatch_event("html", "visibilitychange")
    expect(pill).to_contain_text("version 1")
    expect(box).to_have_value("Half a sen")


def test_settings_are_explained_checked_and_sent(tab: Tab) -> None:
    tab.open("writer")
    tab.page.get_by_text("Settings: the model's own").click()
    temperature = tab.page.get_by_label("Temperature", exact=True)
    about = tab.page.locator(f"#{temperature.get_attribute('aria-describedby')}")
    expect(about).to_contain_text("most likely")
    temperature.fill("3")
    tab.button("Write on").click()
    expect(tab.page.get_by_text("Temperature must be between 0 and 2.")).to_be_visible()
    assert tab.asked("/v1/completions") == []
    temperature.fill("0.3")
    tab.page.get_by_label("Seed").fill("7")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".facts")).to_contain_text("version 1")
    body = tab.asked("/v1/completions")[-1]
    assert (body["temperature"], body["seed"], body["stream"]) == (0.3, 7, True)
    assert "top_p" not in body, "what is not touched is the model's own"

    tab.page.get_by_text("Ask the same from a program").click()
    snippet = tab.page.locator("#snippet")
    expect(snippet).to_contain_text('"temperature":0.3')
    shown = snippet.text_content()
    assert shown.startswith("curl -s http") and KEY not in shown
    tab.button("Python").click()
    expect(snippet).to_contain_text("client.completions.create(")
    compile(snippet.text_content(), "snippet", "exec")
    tab.button("JavaScript").click()
    expect(snippet).to_contain_text("await fetch(")
    tab.button("As the model has them").click()
    expect(snippet).not_to_contain_text("temperature")


def test_a_text_that_is_too_long_is_not_sent(tab: Tab) -> None:
    tab.open("writer")
    tab.page.get_by_label("The beginning of a text").fill("film " * (MAX_LENGTH + 5))
    expect(tab.page.locator(".counter.over")).to_contain_text("shorten it")
    tab.button("Write on").click()
    expect(tab.page.get_by_role("alert")).to_contain_text(f"the model reads {MAX_LENGTH}")
    assert tab.asked("/v1/completions") == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda route: route.abort(), "The server does not answer"),
        (
            lambda route: route.fulfill(
                status=503, headers={"retry-after": "7"}, json={"error": {"message": "The server is full."}}
            ),
            "The server is full. Try again in 7 seconds.",
        ),
        (lambda route: route.fulfill(status=502, body="<html>"), "The server answered 502."),
    ],
    ids=["gone", "full", "proxy"],
)
def test_an_error_stands_in_place_of_the_answer_and_one_can_try_again(tab: Tab, how: Any, words: str) -> None:
    tab.open("writer")
    tab.page.route("**/v1/completions", how, times=1)
    tab.button("Write on").click()
    error = tab.page.get_by_label("Answer", exact=True).get_by_role("alert")
    expect(error).to_contain_text(words)
    tab.button("Try again").click()
    expect(tab.page.locator(".facts")).to_contain_text("writer version 1")
    expect(error).to_be_hidden()


def test_keys_are_enough(tab: Tab) -> None:
    tab.open("judge", "Classify")
    tab.page.get_by_role("tab", name="Classify").focus()
    for key, name in (("ArrowRight", "Table"), ("ArrowLeft", "Classify"), ("ArrowLeft", "About")):
        tab.page.keyboard.press(key)
        expect(tab.page.get_by_role("tab", name=name)).to_be_focused()
        assert tab.page.locator("[role=tab][aria-selected=true]").text_content() == name


@pytest.mark.parametrize("tab", [{"viewport": PHONE, "has_touch": True, "is_mobile": True}], indirect=True)
def test_on_a_telephone_the_answer_comes_into_sight(tab: Tab, slow: Writer) -> None:
    tab.open("gru")
    tab.button("Write on").tap()
    expect(tab.page.locator(".answer")).to_contain_text("abc")
    tab.until(lambda: tab.page.get_by_label("Answer", exact=True).bounding_box()["y"] < PHONE["height"] / 3)
    expect(tab.page.locator(".facts")).to_contain_text("64 tokens")
    wide = tab.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], "nothing is wider than the screen"


@pytest.mark.parametrize(
    "tab", [{"color_scheme": "dark"}, {"color_scheme": "light"}], indirect=True, ids=["dark", "light"]
)
def test_it_is_as_dark_as_the_system_and_readable(tab: Tab) -> None:
    """Contrast of every text that is shown as WCAG has it, 4.5; and nothing to press is smaller than 24 pixels."""
    tab.open("chat")
    tab.page.get_by_label("Message", exact=True).fill("One")
    tab.button("Send").click()
    expect(tab.button("Regenerate")).to_be_visible()
    tab.page.get_by_text("Settings: the model's own").click()
    tab.page.get_by_text("Ask the same from a program").click()
    assert tab.page.evaluate(PALE) == []
    heights = [each.bounding_box()["height"] for each in tab.page.get_by_role("button").all()]
    assert min(heights) >= 24
    tab.open("judge")
    tab.button("Which words mattered?").click()
    expect(tab.page.locator(".marked")).to_be_visible()
    assert tab.page.evaluate(PALE) == []
