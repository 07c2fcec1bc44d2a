"""Streaming of decoded text in chunks: whole characters only, and never past a stop string."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

REPLACEMENT = "\ufffd"
"""A decoder's character for bytes that are not (yet) a character."""


class TextStream:
    """Decodes a growing sequence of tokens in chunks.

    A token may end inside a character, and its text may depend on the token before it, so a chunk is the difference of
    two decodings that both start where a chunk ended (as in Hugging Face's text-generation-inference). All chunks
    together are `decode(all tokens)`, truncated before the first stop string.

    Attributes:
        stopped: Whether a stop string has been met; no chunk follows.
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
        """Add a token; return the text that is certain now, often empty."""
        self._ids.append(token)
        before = self._decode(self._ids[self._context : self._done])
        now = self._decode(self._ids[self._context :])
        if len(now) <= len(before) or now.endswith(REPLACEMENT):
            return ""
        self._context, self._done = self._done, len(self._ids)
        return self._release(now[len(before) :], final=False)

    def finish(self) -> str:
        """Return the rest of the text after the last token."""
        before = self._decode(self._ids[self._context : self._done])
        rest = self._decode(self._ids[self._context :])[len(before) :]
        self._context = self._done = len(self._ids)
        return self._release(rest, final=True)

    def _release(self, text: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [index for index in (self._held.find(stop) for stop in self._stop) if index >= 0]
        if found:
            self.stopped = True
            ready, self._held = self._held[: min(found)], ""
            return ready
        keep = 0 if final else self._may_begin_a_stop()
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return ready

    def _may_begin_a_stop(self) -> int:
        """Length of the longest suffix of the held text that is a prefix of a stop string."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0


def generated_text(
    steps: Generator[int | None, None, object], decode: Callable[[list[int]], str], stop: Sequence[str]
) -> str:
    """Run a generation to its end; return its text, truncated before the first stop string.

    Args:
        steps: Yields tokens, as sampling does, and is closed once a stop string is met; or yields None between its
            steps and returns the tokens, as beam search does.
        decode: Tokens to text.
        stop: Stop strings.
    """
    stream = TextStream(decode, stop)
    chunks: list[str] = []
    while not stream.stopped:
        try:
            token = next(steps)
        except StopIteration as end:
            if isinstance(end.value, list):
                chunks += [stream.push(each) for each in end.value]
            break
        if token is not None:
            chunks.append(stream.push(token))
    steps.close()
    return "".join(chunks) + stream.finish()
