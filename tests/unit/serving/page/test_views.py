"""The page in a browser: what each kind of model is shown with."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.page.conftest import MAX_INPUTS, Tab
from tests.unit.serving.small_server import KEY, LABELS, MAX_LENGTH

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
expect = sync_api.expect
pytestmark = [pytest.mark.unit, pytest.mark.browser]


def test_labels_have_names_and_words_their_weight(tab: Tab) -> None:
    tab.open("judge")
    expect(tab.page.locator(".bar .label")).to_have_count(len(LABELS))  # when the example is answered
    assert set(tab.page.locator(".bar .label").all_text_contents()) == set(LABELS)
    widths = [box["width"] for box in (each.bounding_box() for each in tab.page.locator(".bar .track").all()) if box]
    assert min(widths) > 100
    text = "a fine film, and then it was a dull and bad one"
    tab.page.get_by_label("A text to classify").fill(text)
    tab.button("Which words mattered?").click()  # before the text has been classified: it is, first
    marked = tab.page.locator(".marked")
    expect(marked).to_have_text(text)
    words = re.findall(r"\w+", text)
    assert marked.locator("span").all_text_contents() == words
    lists = [body["input"] for body in tab.asked("/v1/classify") if isinstance(body["input"], list)]
    assert all(len(texts) <= MAX_INPUTS for texts in lists)
    assert lists[0][:3] == [
        text.removeprefix("a "),
        text.replace("fine ", "", 1),
        "a fine, and then it was a dull and bad one",
    ]
    expect(tab.page.locator(".words")).to_contain_text("not proof")


def test_a_table_is_classified_row_by_row(tab: Tab) -> None:
    tab.open("judge", "Table")
    rows = [["id", "review", "mood"], ["1", 'a "fine" film,\nyes', "positive"], ["2", "", "negative"]]
    rows += [[str(number), f"bad film {number}", "negative"] for number in range(3, 21)] + [
        ["21", "film " * 2000, "positive"]
    ]
    written = io.StringIO()
    csv.writer(written, delimiter=";").writerows(rows)
    file = {"name": "films.csv", "mimeType": "text/csv", "buffer": b"\xef\xbb\xbf" + written.getvalue().encode()}
    tab.page.get_by_label("File").set_input_files(file)
    expect(tab.page.get_by_label("Column with the text")).to_have_value("1")
    expect(tab.page.get_by_label("Column with the true label, if there is one")).to_have_value("2")
    tab.button("Classify all rows").click()
    summary = tab.page.locator("p.facts")
    expect(summary).to_contain_text("21 of 21 rows done")
    expect(summary).to_contain_text("2 rows without an answer")
    expect(summary).to_contain_text("of 19)")
    with tab.page.expect_download() as waited:
        tab.button("Download the result").click()
    assert waited.value.suggested_filename == "films-judge.csv"
    text = waited.value.path().read_text(encoding="utf-8")
    got = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
    assert got[0] == [*rows[0], "predicted_label", "probability", "truncated", "problem"]
    assert [row[:3] for row in got[1:]] == rows[1:]
    assert got[2][3:] == ["", "", "", "empty text"]
    assert "tokens" in got[-1][-1]
    assert {row[3] for row in got[3:-1]} <= set(LABELS)
    tab.page.get_by_label("File").set_input_files({**file, "buffer": b'a,b\n"open,1\n'})
    expect(tab.page.get_by_role("alert")).to_contain_text("opens in line 2 is never closed")
    expect(tab.page.locator("#view table")).to_have_count(0)  # nothing is left of the file before
    assert "21 rows" not in tab.page.locator("#view").text_content()


def test_tables_as_programs_write_them(tab: Tab) -> None:
    tab.open("judge", "Table")
    cells = tab.page.locator("#view td:first-child")
    for name, content in {
        "bars.csv": b"id|text|mood\n1|fine film|positive\n",
        "named.csv": b"sep=;\r\nid;text\r\n1;fine film\r\n",
        "excel.csv": "id\ttext\n1\tfine film\n".encode("utf-16"),
        "lines.txt": b"fine film\nA plain text, with commas, in each line\n",
    }.items():
        tab.page.get_by_label("File").set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})
        rows = ["fine film", "A plain text, with commas, in each line"][: 1 + name.endswith(".txt")]
        expect(tab.page.locator("#view .hint").first).to_contain_text(f"{len(rows)} row")
        expect(cells).to_have_text(rows)
    for content in ("text\nschön\n".encode("latin-1"), b"PK\x03\x04\0\0text\n"):
        tab.page.get_by_label("File").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": content})
        expect(tab.page.get_by_role("alert")).to_contain_text("x.csv is not text in UTF-8")


def test_a_conversation_is_kept_and_can_be_gone_back_on(tab: Tab) -> None:
    path = "/v1/chat/completions"
    tab.open("chat")
    message, turns = tab.page.get_by_label("Message", exact=True), tab.page.locator(".turn")
    tab.page.get_by_text("Settings: the model's own").click()
    tab.page.get_by_label("Longest answer").fill("4")
    message.fill("One")
    message.press("Shift+Enter")
    message.press("Enter")
    expect(tab.button("Regenerate")).to_be_visible()
    tab.page.get_by_text("System prompt").click()
    tab.page.get_by_placeholder("for instance").fill("Be good.")
    message.fill("Two")
    message.press("Enter")
    expect(turns).to_have_count(4)
    expect(tab.button("Regenerate")).to_be_visible()
    said = tab.asked(path)
    assert [body["stream"] for body in said] == [True, True]
    assert said[0]["messages"] == [{"role": "user", "content": "One"}]
    assert [each["role"] for each in said[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert said[1]["messages"][0]["content"] == "Be good."

    tab.button("Regenerate").click()
    tab.until(lambda: len(tab.asked(path)) == 3)
    assert tab.asked(path)[2]["messages"] == said[1]["messages"]
    expect(tab.button("Regenerate")).to_be_visible()
    tab.button("Edit").first.click()
    tab.page.get_by_label("Edit the message").fill("Zero")
    tab.button("Send again").click()
    expect(turns).to_have_count(2)
    expect(tab.button("Regenerate")).to_be_visible()
    assert [each["content"] for each in tab.asked(path)[3]["messages"]] == ["Be good.", "Zero"]

    tab.button("New conversation").click()
    expect(turns).to_have_count(0)
    tab.page.get_by_label("Conversations").select_option(label="Zero")
    expect(turns).to_have_count(2)
    tab.page.reload()
    tab.page.get_by_label("This server wants a key").fill(KEY)
    tab.button("Use it").click()
    expect(turns.first).to_contain_text("Zero")


def test_an_answers_markdown_is_shown_and_nothing_in_it_runs(tab: Tab) -> None:
    text = "# So\nLook `here`:\n- one\n- **two**\n\n```python\nprint('1')\n```\n<img src=x onerror=alert(1)>"
    chunk = {"model": "chat", "version": 1, "choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    answer = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    tab.open("chat")
    tab.page.route("**/v1/chat/completions", lambda route: route.fulfill(body=answer), times=1)
    tab.page.locator("button.example").click()
    words = tab.page.locator(".turn.assistant .words")
    expect(words.locator("li")).to_have_text(["one", "two"])
    expect(words.locator("li b")).to_have_text("two")
    expect(words.locator("p code")).to_have_text("here")
    expect(words.locator("pre")).to_have_text("print('1')")
    expect(words.locator(".heading")).to_have_text("So")
    expect(words).to_contain_text("<img src=x onerror=alert(1)>")
    assert words.locator("img").count() == 0


def test_markdown_of_every_kind(tab: Tab) -> None:
    text = (
        "| a | b |\n|---|:-:|\n| 1 | *two* |\n\n1. one\n   - in one\n   more\n\n2. two\n> said\n\n---\nEnglish\n\n"
        "שלום 2*3*4 snake_case_name [here](https://a.example/x) [no](javascript:alert(1))"
    )
    chunk = {"model": "chat", "version": 1, "choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    tab.open("chat")
    tab.page.route(
        "**/v1/chat/completions", lambda route: route.fulfill(body=f"data: {json.dumps(chunk)}\n\n"), times=1
    )
    tab.page.locator("button.example").click()
    words = tab.page.locator(".turn.assistant .words")
    expect(words.locator("td")).to_have_text(["1", "two"])
    expect(words.locator("i")).to_have_text(["two"])
    expect(words.locator("ol > li")).to_have_count(2)
    expect(words.locator("ol > li > ul > li")).to_have_text("in one more")
    expect(words.locator("blockquote")).to_have_text("said")
    expect(words.locator("hr")).to_have_count(1)
    expect(words.locator("a")).to_have_attribute("href", "https://a.example/x")
    hebrew = words.locator("> p").last
    expect(hebrew).to_contain_text("2*3*4 snake_case_name here [no](javascript:alert(1))")
    ways = [each.evaluate("node => getComputedStyle(node).direction") for each in words.locator("> p").all()]
    assert ways == ["ltr", "rtl"], "each paragraph has its own direction"


def test_a_message_that_is_refused_goes_back_into_its_box(tab: Tab) -> None:
    tab.open("chat")
    error = {"message": "messages has 9 tokens; up to 8 are allowed.", "code": "context_length_exceeded"}
    tab.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=400, json={"error": error}), times=1)
    message = tab.page.get_by_label("Message", exact=True)
    message.fill("One")
    message.press("Enter")
    expect(tab.page.get_by_role("alert")).to_contain_text("up to 8 are allowed. Shorten the message")
    expect(tab.button("Try again")).to_have_count(0)
    expect(message).to_have_value("One")
    expect(tab.page.locator(".turn")).to_have_count(0)
    tab.page.get_by_text("Settings: the model's own").click()
    seed = tab.page.get_by_label("Seed")
    seed.fill("-1")
    seed.press("Enter")
    complaint = tab.page.get_by_text("Seed must be between 0 and")
    expect(complaint).to_be_in_viewport(ratio=0.9)
    box = complaint.bounding_box()
    at = "([x, y]) => document.elementFromPoint(x, y).textContent"
    assert tab.page.evaluate(at, [box["x"] + 2, box["y"] + 5]) == complaint.text_content(), "it is not cut off"


@pytest.mark.parametrize(
    ("how", "words", "turns"),
    [
        (lambda route: route.abort(), "The server does not answer", 1),
        (
            lambda route: route.fulfill(body='data: {"choices": [{"delta": {"content": "Half"}}]}\n\n'),
            "The server broke the answer off",
            2,
        ),
    ],
    ids=["none", "half"],
)
def test_an_answer_that_fails_leaves_the_conversation(tab: Tab, how: Any, words: str, turns: int) -> None:
    tab.open("chat")
    tab.page.route("**/v1/chat/completions", how, times=1)
    tab.page.get_by_label("Message", exact=True).fill("One")
    tab.button("Send").click()
    expect(tab.page.get_by_role("alert")).to_contain_text(words)
    expect(tab.page.locator(".turn")).to_have_count(turns)
    tab.button("Try again").click()
    tab.until(lambda: len(tab.asked("/v1/chat/completions")) == 2)
    expect(tab.button("Regenerate")).to_be_visible()
    asked = [body["messages"] for body in tab.asked("/v1/chat/completions")]
    assert asked[0] == asked[1], "half an answer is not part of the question"
    expect(tab.page.locator(".turn")).to_have_count(2)
    assert tab.page.get_by_role("alert").is_hidden()


@pytest.mark.parametrize(("other", "who"), [("gru", ("gru", 1)), ("writer@previous", ("writer", 0))])
def test_two_models_or_versions_are_compared_blind_and_the_vote_is_stored(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, who: tuple[str, int]
) -> None:
    monkeypatch.chdir(tmp_path)  # the server's workspace
    tab.open("writer", "Compare blind")
    tab.page.get_by_label("writer against").select_option(other)
    tab.page.get_by_label("The same for both").fill("a film")
    tab.button("Ask both").click()
    expect(tab.button("A is better")).to_be_focused()
    assert "version" not in tab.page.locator(".compare .two").text_content()
    tab.button("A is better").click()
    expect(tab.page.get_by_role("status").last).to_contain_text("Your vote is stored. 1 vote on these two so far")
    names = tab.page.locator(".compare .two .name").all_text_contents()
    vote = tab.asked("/v1/votes")[0]
    found = [(vote[side]["model"], vote[side]["version"]) for side in ("a", "b")]
    assert names == [f"{side} is {name} version {version}" for side, (name, version) in zip("AB", found, strict=True)]
    assert set(found) == {("writer", 1), who}
    stored = json.loads(Path(".langmill/votes.jsonl").read_text(encoding="utf-8"))
    assert (stored["prompt"], stored["verdict"], stored["chosen"]) == ("a film", "a", vote["a"]["text"])


def test_what_is_too_long_for_one_of_two_is_sent_to_neither(tab: Tab) -> None:
    tab.open("writer", "Compare blind")
    tab.page.get_by_label("The same for both").fill("film " * (MAX_LENGTH + 5))
    expect(tab.page.locator(".compare .counter.over")).to_be_visible()
    tab.button("Ask both").click()
    expect(tab.page.get_by_role("alert")).to_contain_text(f"the model reads {MAX_LENGTH}")
    assert tab.asked("/v1/completions") == []


def test_a_translation_stands_beside_its_source(tab: Tab) -> None:
    tab.open("translator")
    tab.page.get_by_label("Text to translate").fill("a film")
    tab.button("Translate").click()
    expect(tab.page.locator(".facts")).to_contain_text("translator version 1")
    source, target = (tab.page.get_by_label(name, exact=True).bounding_box() for name in ("Request", "Translation"))
    assert source["y"] == target["y"] and source["x"] + source["width"] < target["x"]


def test_what_the_page_has_no_view_for_is_shown_as_json(tab: Tab) -> None:
    tab.open("writer", "Embeddings")
    expect(tab.page.get_by_text("Settings: the model's own")).to_be_hidden()  # it has none
    tab.button("Ask").click()
    expect(tab.page.locator(".answer pre")).to_contain_text("numbers")


def test_a_model_has_a_card(tab: Tab) -> None:
    tab.open("judge", "About")
    card = tab.page.locator(".card")
    for words in (
        "judge, version 1",
        "classifies texts",
        "negative, positive",
        f"{MAX_LENGTH} tokens",
        "unigram (trivial baseline)",
        "The lower, the better.",
    ):
        expect(card).to_contain_text(words)
    numbers = [row.locator("td").all_text_contents()[1:] for row in card.locator("tr").all()]
    assert numbers == [["2.500", "2.400 to 2.600"], ["4.100", ""]], "decimals stand under one another"
    expect(card.get_by_role("listitem").filter(has_text="It does not chat")).to_be_visible()
