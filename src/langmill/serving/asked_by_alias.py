"""Has a request that names `NAME@previous` or its like answered by that version.

It stands before the routes and knows none of them, as `langmill.serving.trial.mirror` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from langmill.errors import RequestError
from langmill.serving.bodies import parsed, replayed
from langmill.serving.chosen import answering
from langmill.serving.middleware import refusal
from langmill.serving.service import SEPARATOR, OtherVersions


class AskedByAlias:
    """Chooses the version that a request names by an alias.

    Args:
        app: What answers.
        beside: What may be asked.
        names: The models that are served.
    """

    def __init__(self, app: ASGIApp, beside: OtherVersions, names: Collection[str]) -> None:
        self._app = app
        self._beside = beside
        self._names = names
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the version chosen."""
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        message = await receive()
        body = message.get("body", b"")
        replay = replayed(message, receive)
        asked = parsed(body).get("model") if SEPARATOR.encode() in body else None
        name, _, alias = asked.partition(SEPARATOR) if isinstance(asked, str) else ("", "", "")
        if not alias or name not in self._names:
            await self._app(scope, replay, send)
            return
        try:
            loaded = self._beside.in_memory(name, alias)
            if loaded is None:
                # One at a time, and here: requests that waited in threads would take them from those that are answered.
                async with self._turn:
                    loaded = await asyncio.to_thread(self._beside.loaded, name, alias)
        except RequestError as error:
            await refusal(error)(scope, replay, send)
            return
        with answering(loaded, asked):
            await self._app(scope, replay, send)
