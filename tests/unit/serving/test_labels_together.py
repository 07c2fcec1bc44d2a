"""Texts of several requests that are classified in one forward pass."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from langmill.errors import RequestError
from langmill.serving.routes.classify import Classification
from tests.unit.serving.conftest import Judge, loaded_version, started

pytestmark = pytest.mark.unit


def test_texts_of_several_requests_are_classified_in_one_pass() -> None:
    judge, gate = Judge(), threading.Event()
    version = loaded_version("judge", 1, judge)
    plain = judge.probabilities

    def slowly(network: Any, tokenizer: Any, texts: Any) -> np.ndarray:
        assert gate.wait(10)
        return plain(network, tokenizer, texts)

    judge.probabilities = slowly  # type: ignore[method-assign]
    with started(max_running=20, max_waiting=20) as engine:

        async def ask(texts: list[str]) -> Any:
            return [event async for event in engine.submit(Classification(version, judge, texts, len(texts)))][-1]

        async def main() -> list[Any]:
            asked = [asyncio.create_task(ask(["x" * (number + 1)])) for number in range(8)]
            asked.append(asyncio.create_task(ask(["y" * 30, "y" * 3, "y" * 40])))
            await asyncio.sleep(0.05)
            gate.set()
            return list(await asyncio.gather(*asked))

        found = asyncio.run(main())
    assert [float(rows[0][1]) for rows in found[:8]] == pytest.approx([(number + 1) / 100 for number in range(8)])
    assert [float(row[1]) for row in found[8]] == pytest.approx([0.3, 0.03, 0.4])
    assert sum(map(len, judge.batches)) == 11
    assert len(judge.batches) <= 3


def test_a_text_that_fails_is_found_among_those_of_others() -> None:
    class Broken(Judge):
        def probabilities(self, network: Any, tokenizer: Any, texts: Any) -> np.ndarray:
            assert gate.wait(10)
            found = super().probabilities(network, tokenizer, texts)
            found[[text == "bad" for text in texts]] = np.nan
            return found

    gate, judge = threading.Event(), Broken()
    version = loaded_version("judge", 1, judge)
    with started() as engine:

        async def ask(text: str) -> Any:
            return [event async for event in engine.submit(Classification(version, judge, [text], 1))][-1]

        async def main() -> list[Any]:
            asked = [asyncio.create_task(ask(text)) for text in ("first", "good", "bad", "fine")]
            await asyncio.sleep(0.05)
            gate.set()
            return list(await asyncio.gather(*asked, return_exceptions=True))

        first, good, bad, fine = asyncio.run(main())
    assert isinstance(bad, RequestError)
    assert [float(rows[0][1]) for rows in (first, good, fine)] == pytest.approx([0.05, 0.04, 0.04])
