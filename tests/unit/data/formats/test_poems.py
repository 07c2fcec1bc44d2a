# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""Forms, fragments and editors' marks."""

from __future__ import annotations

import json

import pytest

from tests.unit.data.formats.reading import bad, good, read

pytestmark = pytest.mark.unit
NIGHT = ["床前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"]


def poem(paragraphs: list[str], title: str = "靜夜思", path: str = "poet.tang.0.json"):  # type: ignore[no-untyped-def]
    return read("poems", json.dumps([{"title": title, "author": "李白", "paragraphs": paragraphs}]), path)


def test_a_poem_is_written_line_by_line() -> None:
    assert good(poem(NIGHT)) == [
        (
            1,
            {
                "title": "靜夜思",
                "author": "李白",
                "dynasty": "唐",
                "form": "五言绝句",
                "poem": "床前看月光，\n疑是地上霜。\n舉頭望山月，\n低頭思故鄉。",
                "prompt": "五言绝句：靜夜思",
            },
        )
    ]
    assert good(poem(NIGHT, path="a/poet.song.1000.json"))[0][1]["dynasty"] == "宋"
    assert good(poem(NIGHT, path="others.json"))[0][1]["dynasty"] == ""


@pytest.mark.parametrize(
    ("paragraphs", "form"),
    [
        (NIGHT, "五言绝句"),
        (NIGHT * 2, "五言律诗"),
        (["一二三四五六七，一二三四五六七。"] * 2, "七言绝句"),
        (["一二三四五六七，一二三四五六七！"] * 4, "七言律诗"),
        (NIGHT * 3, "其他"),
        (["一二三四五，一二三四五六七。"] * 2, "其他"),
        (["一二三四五；一二三四五？", "「一二三四五，一二三四五。」"], "五言绝句"),
        (["一二三四五"] * 1, "其他"),
    ],
)
def test_forms(paragraphs: list[str], form: str) -> None:
    assert good(poem(paragraphs))[0][1]["form"] == form


@pytest.mark.parametrize(
    ("paragraphs", "title", "reason"),
    [
        (["床前看□光，疑是地上霜。"], "靜夜思", "damaged_text"),
        (["床前看月（一作「明」）光，疑是地上霜。"], "靜夜思", "damaged_text"),
        (["床前看{𥫗/戢}光。"], "靜夜思", "damaged_text"),
        (["床前看\ue829光。"], "靜夜思", "damaged_text"),
        (["床前看月光。〖1〗"], "靜夜思", "damaged_text"),
        (["詩題：十日菊。"], "菊", "damaged_text"),
        (["無正文。"], "菊", "damaged_text"),
        (NIGHT, "", "damaged_text"),
        (NIGHT, "送許□之", "damaged_text"),
        ([], "靜夜思", "unfinished"),
        (["。", "。"], "靜夜思", "unfinished"),
        (NIGHT, "句", "unfinished"),
        (NIGHT, "句  其二", "unfinished"),
        (NIGHT, "句（《吟窗雜錄》卷三一）", "unfinished"),
        (NIGHT, "存目  其二", "unfinished"),
    ],
)
def test_what_is_not_a_whole_poem_is_quarantined(paragraphs: list[str], title: str, reason: str) -> None:
    assert bad(poem(paragraphs, title)) == [(1, reason)]


def test_titles() -> None:
    assert good(poem(NIGHT, "句溪夏日"))[0][1]["title"] == "句溪夏日"
    assert good(poem(NIGHT, "晚次（一作「歇」）  湘源縣"))[0][1]["title"] == "晚次 湘源縣"
    for title in ("讀《文選》", "決疑頌 何言無福耶？", "山居詩 其一○"):  # a work, a question, a zero: nothing is lost
        assert good(poem(NIGHT, title))[0][1]["title"] == title


def test_other_shapes() -> None:
    rows = read("poems", '[{"title": 1}, [], {"title": "a", "author": "b", "paragraphs": [1]}]', "a.json")
    assert bad(rows) == [(1, "unexpected_shape"), (2, "not_an_object"), (3, "unexpected_shape")]
