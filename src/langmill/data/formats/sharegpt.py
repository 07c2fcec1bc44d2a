"""Conversations as ShareGPT's files keep them: a row is `{"conversations": [{"from", "value"}]}`."""

from __future__ import annotations

from typing import ClassVar

from langmill.data.formats.base import FORMATS
from langmill.data.formats.messages import Messages


@FORMATS.register("sharegpt")
class ShareGPT(Messages):
    """As the format `messages`, but for the name of the list."""

    names: ClassVar[tuple[str, ...]] = ("conversations", "conversation")
