"""How the engine generates a text: token by token, or by a beam search."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.network import Ending
from langmill.serving.engine import Job, LoadedVersion
from langmill.tasks.base import Generates
from langmill.tokenization.text_stream import TextStream


@dataclass(frozen=True)
class Chunk:
    """The next part of a generated text."""

    text: str
    tokens: int
    """Tokens generated so far."""
    ending: Ending | None
    """Why the text ends here; None while it continues."""


class Completion(Job[Chunk]):
    """Continues a prompt.

    Args:
        loaded: The version that answers.
        task: What it can do.
        prompt_ids: The prompt's tokens.
        decoding: How.
        stop: Texts to stop before.
        streamed: Give a chunk for every token; else one for the first, for the clock, and one for all the others at the
            end, which spares the event loop a call for each. A search gives one chunk, at its end.
    """

    def __init__(
        self,
        loaded: LoadedVersion,
        task: Generates,
        *,
        prompt_ids: Sequence[int],
        decoding: Sampling | Beams,
        stop: Sequence[str],
        streamed: bool,
    ) -> None:
        super().__init__(loaded)
        self._streamed = streamed
        self._task = task
        self._prompt_ids = list(prompt_ids)
        self._decoding = decoding
        self._text = TextStream(loaded.model.tokenizer.decode, stop)

    def steps(self) -> Generator[Chunk | None, None, None]:
        """One token a step; of a search, one token of every beam."""
        if isinstance(self._decoding, Beams):
            return self._search(self._decoding)
        return self._sample(self._decoding)

    def _sample(self, sampling: Sampling) -> Generator[Chunk | None, None, None]:
        tokens = self._task.generate(self.loaded.model.network, self._prompt_ids, sampling)
        count, held = 0, ""
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                ending: Ending = end.value
                break
            count += 1
            text = self._text.push(token)
            if self._text.stopped:
                tokens.close()
                yield Chunk(held + text, count, Ending.stop)
                return
            if self._streamed or count == 1:
                yield Chunk(text, count, None)
            else:
                held += text
                yield None
        text = held + self._text.finish()
        yield Chunk(text, count, Ending.stop if self._text.stopped else ending)

    def _search(self, beams: Beams) -> Generator[Chunk | None, None, None]:
        model = self.loaded.model
        tokens = yield from self._task.search(model.network, model.tokenizer, self._prompt_ids, beams)
        text = "".join(self._text.push(token) for token in tokens) + self._text.finish()
        full = len(tokens) == beams.max_new_tokens and not self._text.stopped
        yield Chunk(text, len(tokens), Ending.length if full else Ending.stop)
