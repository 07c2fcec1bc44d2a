"""How the engine generates a text: token by token, or by a beam search."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from langmill.errors import RequestError
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.continuation import Token, generate_tokens
from langmill.models.generation.guide import Guide
from langmill.models.generation.logprobs import TokenLogprobs, of_tokens
from langmill.models.generation.network import Ending, PredictsPrompt
from langmill.serving.jobs import Job, LoadedVersion
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
    logprobs: tuple[TokenLogprobs, ...] = ()
    """Where asked for: of each token generated since the last chunk, the stop token left out."""
    prompt_logprobs: tuple[TokenLogprobs | None, ...] | None = None
    """Where asked for, in the first chunk: of each token of the prompt; None for the first, which nothing precedes."""


class Completion(Job[Chunk]):
    """Continues a prompt.

    Args:
        loaded: The version that answers.
        task: What it can do.
        prompt_ids: The prompt's tokens.
        decoding: How. Sampling of 0 tokens is for `echo_logprobs`.
        stop: Texts to stop before.
        streamed: Give a chunk for every token; else one for the first, for the clock, and one for all the others at the
            end, which spares the event loop a call for each. A search gives one chunk, at its end.
        exact: Decode alone, bit for bit as `generate` does, and not in one forward pass with other requests.
        logprobs: How many of the most likely tokens are told with each token's log probability; None for nothing.
        echo_logprobs: Tell those of the prompt too.
        guide: What restricts the tokens.

    Raises:
        RequestError: The model's way to answer, or a search, has no log probabilities or guide.
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
        exact: bool = False,
        logprobs: int | None = None,
        echo_logprobs: bool = False,
        guide: Guide | None = None,
    ) -> None:
        super().__init__(loaded)
        self.prompt_tokens = len(prompt_ids)
        self.exact = exact
        self._streamed = streamed
        self._task = task
        self._prompt_ids = list(prompt_ids)
        self._decoding = decoding
        self._text = TextStream(loaded.model.tokenizer.decode, stop)
        self._logprobs = logprobs
        self._echo_logprobs = echo_logprobs
        self._guide = guide
        self._network = task.decodes(loaded.model.network)
        self._refuse_what_is_not_offered()

    def _refuse_what_is_not_offered(self) -> None:
        searches = isinstance(self._decoding, Beams)
        for param, asked in (("logprobs", self._logprobs is not None), ("response_format", self._guide is not None)):
            if asked and (searches or self._network is None):
                why = "a search has none" if searches else f"{self.loaded.name} does not write token by token"
                raise RequestError(f"{param} is not offered here: {why}; leave it out.", 400, param)
        if self._echo_logprobs and not isinstance(self._network, PredictsPrompt):
            raise RequestError(
                f"{self.loaded.name} does not predict its prompt, so there are no log probabilities to echo.",
                400,
                "logprobs",
            )

    def steps(self) -> Generator[Chunk | None, None, None]:
        """One token a step; of a search, one token of every beam."""
        if isinstance(self._decoding, Beams):
            return self._search(self._decoding)
        return self._sample(self._decoding)

    def _sample(self, sampling: Sampling) -> Generator[Chunk | None, None, None]:
        prompt_logprobs = self._of_prompt() if self._echo_logprobs else None
        count, held = 0, ""
        noted: list[TokenLogprobs] = []
        tokens = self._tokens(sampling)
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                ending: Ending = end.value
                break
            count += 1
            text = self._text.push(token.id)
            if token.logprobs is not None:
                noted.append(token.logprobs)
            if self._text.stopped:
                tokens.close()
                yield Chunk(held + text, count, Ending.stop, tuple(noted), prompt_logprobs)
                return
            if self._streamed or count == 1:
                yield Chunk(text, count, None, tuple(noted), prompt_logprobs)
                noted, prompt_logprobs = [], None
            else:
                held += text
                yield None
        text = held + self._text.finish()
        ending = Ending.stop if self._text.stopped else ending
        yield Chunk(text, count, ending, tuple(noted), prompt_logprobs)

    def _tokens(self, sampling: Sampling) -> Generator[Token, None, Ending]:
        if self._network is not None:
            return (yield from generate_tokens(self._network, self._prompt_ids, sampling, self._guide, self._logprobs))
        tokens = self._task.generate(self.loaded.model.network, self._prompt_ids, sampling)
        try:
            while True:
                yield Token(next(tokens), None)
        except StopIteration as end:
            ending: Ending = end.value
            return ending
        finally:
            tokens.close()

    def _of_prompt(self) -> tuple[TokenLogprobs | None, ...]:
        assert isinstance(self._network, PredictsPrompt)
        logits_TV = self._network.prompt_logits(self._prompt_ids)
        return (None, *of_tokens(logits_TV[:-1], self._prompt_ids[1:], self._logprobs or 0))

    def _search(self, beams: Beams) -> Generator[Chunk | None, None, None]:
        model = self.loaded.model
        tokens = yield from self._task.search(model.network, model.tokenizer, self._prompt_ids, beams)
        text = "".join(self._text.push(token) for token in tokens) + self._text.finish()
        full = len(tokens) == beams.max_new_tokens and not self._text.stopped
        yield Chunk(text, len(tokens), Ending.length if full else Ending.stop)
