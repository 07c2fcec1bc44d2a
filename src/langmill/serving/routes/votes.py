"""`/v1/votes`: which of two answers a person found better."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from pydantic import BaseModel, Field

from langmill.errors import LangmillError, RequestError
from langmill.files import canonical_json, exclusive_lock, explained_os_errors
from langmill.serving.routes.base import ROUTES, Route
from langmill.serving.schema import Given, Text
from langmill.workspace import Workspace

_MAX_CHARACTERS = 100_000
_MAX_FILE_BYTES = 16 * 2**20
Words = Annotated[Text, Field(max_length=_MAX_CHARACTERS)]


class Contender(Given):
    """One of the two answers, and who gave it."""

    model: Text = Field(max_length=200)
    version: int = Field(ge=0, lt=2**63)
    text: Words

    @property
    def title(self) -> str:
        """As a person calls it: `reviews-lm version 3`."""
        return f"{self.model} version {self.version}"


class VoteBody(Given):
    """A vote between two answers to one prompt."""

    path: Text = Field(max_length=200, description="Where the two were asked.")
    prompt: Words = Field(description="What both were asked.")
    verdict: Literal["a", "b", "tie", "neither"] = Field(
        description="The better one; tie: both good; neither: both bad."
    )
    a: Contender
    b: Contender


class Tally(BaseModel):
    """The votes so far on these two versions."""

    votes: int
    wins: dict[str, int]
    """By version, as in `reviews-lm version 3`."""
    ties: int
    """Votes that said both are good, or both are bad."""


@ROUTES.register("votes")
class Votes(Route[VoteBody]):
    """Store which of two answers is better, and count the votes on these two versions."""

    path = "/v1/votes"
    body = VoteBody
    response = Tally
    example: ClassVar = {
        "path": "/v1/completions",
        "prompt": "The film",
        "verdict": "a",
        "a": {"model": "NAME", "version": 2, "text": " was a delight."},
        "b": {"model": "NAME", "version": 1, "text": " film film."},
    }

    async def handle(self, request: Request, body: VoteBody) -> Tally:
        """Append a line to the file of votes."""
        for contender in (body.a, body.b):
            self.service.find(contender.model)
        if body.a.title == body.b.title:
            raise RequestError("a and b are the same version; there is nothing to compare.", 400, "b")
        return await asyncio.to_thread(store_vote, Workspace().votes, body)


def store_vote(path: Path, vote: VoteBody) -> Tally:
    """Append a vote to a file of JSON lines, and count those on the same two versions.

    A line has `prompt`, and `chosen` and `rejected` where one is better: the corpus format `preferences` reads it.
    Raises RequestError where the file has grown to its limit, or can't be written (503).
    """
    line: dict[str, Any] = {"time": int(time.time()), **vote.model_dump()}
    if vote.verdict in ("a", "b"):
        better, worse = (vote.a, vote.b) if vote.verdict == "a" else (vote.b, vote.a)
        line |= {"chosen": better.text, "rejected": worse.text}
    try:
        with exclusive_lock(path.with_suffix(".lock"), "Storing a vote", wait=True), explained_os_errors(path):
            if path.is_file() and path.stat().st_size > _MAX_FILE_BYTES:
                raise RequestError(
                    f"{path} has {_MAX_FILE_BYTES // 2**20} MiB of votes; move it away, and the next one begins anew.",
                    503, code="full",
                )  # fmt: skip
            with path.open("ab") as file:
                file.write((canonical_json(line) + "\n").encode())
            return _count(path, vote)
    except RequestError:
        raise
    except LangmillError as error:
        raise RequestError(f"The vote was not stored: {error}", 503, code="not_stored") from error


def _count(path: Path, vote: VoteBody) -> Tally:
    wins, votes, ties = {vote.a.title: 0, vote.b.title: 0}, 0, 0
    for stored in _stored(path):
        titles = {side: f"{stored[side]['model']} version {stored[side]['version']}" for side in ("a", "b")}
        if set(titles.values()) != set(wins):
            continue
        votes += 1
        if stored["verdict"] in titles:
            wins[titles[stored["verdict"]]] += 1
        else:
            ties += 1
    return Tally(votes=votes, wins=wins, ties=ties)


def _stored(path: Path) -> Iterator[dict[str, Any]]:
    """The votes in a file; a line that a power cut left half is skipped."""
    for line in path.read_bytes().split(b"\n"):
        try:
            yield json.loads(line)
        except ValueError:
            continue
