"""From token ids to text that can be sent piece by piece: whole characters only, and never past a stop string."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

REPLACEMENT = "\ufffd"
"""What a decoder puts where bytes are not (yet) a character."""


class TextStream:
    """Decodes a growing sequence of tokens.

    A token may end inside a character, and one token's text may depend on the one before it, so a piece is the
    difference of two decodings that both start at a place where a piece ended (as in Hugging Face's
    text-generation-inference). The pieces put together are `decode(all tokens)`, cut before the first stop string.

    Attributes:
        stopped: A stop string has been met; nothing more will come.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._context = 0  # where decoding starts
        self._done = 0  # tokens whose text has been taken
        self._held = ""  # decoded text that may be the beginning of a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain after one more token; often empty."""
        self._ids.append(token)
        before = self._decode(self._ids[self._context : self._done])
        now = self._decode(self._ids[self._context :])
        if len(now) <= len(before) or now.endswith(REPLACEMENT):
            return ""
        self._context, self._done = self._done, len(self._ids)
        return self._release(now[len(before) :], final=False)

    def finish(self) -> str:
        """What is left when no more tokens come."""
        before = self._decode(self._ids[self._context : self._done])
        rest = self._decode(self._ids[self._context :])[len(before) :]
        self._context = self._done = len(self._ids)
        return self._release(rest, final=True)

    def _release(self, text: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [place for place in (self._held.find(stop) for stop in self._stop) if place >= 0]
        if found:
            self.stopped = True
            ready, self._held = self._held[: min(found)], ""
            return ready
        keep = 0 if final else self._may_begin_a_stop()
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return ready

    def _may_begin_a_stop(self) -> int:
        """Length of the longest end of the held text that a stop string begins with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0


def generated_text(
    steps: Generator[int | None, None, object], decode: Callable[[list[int]], str], stop: Sequence[str]
) -> str:
    """The whole text that a generation writes, cut before the first stop string.

    Args:
        steps: Yields tokens, as sampling does, and is left as soon as a stop string is met; or yields None between its
            steps and returns the tokens, as a search does.
        decode: Tokens to text.
        stop: Texts to stop before.
    """
    stream = TextStream(decode, stop)
    pieces: list[str] = []
    while not stream.stopped:
        try:
            token = next(steps)
        except StopIteration as end:
            if isinstance(end.value, list):
                pieces += [stream.push(each) for each in end.value]
            break
        if token is not None:
            pieces.append(stream.push(token))
    steps.close()
    return "".join(pieces) + stream.finish()
