"""A request's body, read once by whoever must know what it asks and handed on to the routes as it came."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Message, Receive


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty one where there is none, which the routes refuse."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def replayed(message: Message, receive: Receive) -> Receive:
    """Where the routes read a body that was read already: `Limits` makes it one message."""
    left = [message]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
