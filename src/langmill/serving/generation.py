"""How the engine generates a text: token by token, or by a beam search."""

from __future__ import annotations

from collections.abc import Collection, Generator, Hashable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from langmill.errors import RequestError
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.generate import GeneratedSequence, Token, generate_tokens
from langmill.models.generation.guide import Guide
from langmill.models.generation.logprobs import TokenLogprobs, of_tokens
from langmill.models.generation.network import Ending, PredictsPrompt
from langmill.serving.jobs import BatchJob, Job, LoadedVersion
from langmill.tasks.base import Generates
from langmill.tokenization.text_stream import TextStream

_TOGETHER_TOKENS = 128
"""Longer prompts are scored alone, so that a turn of the engine stays short."""
PromptLogprobs = tuple[TokenLogprobs | None, ...]
"""Of each token of a prompt; None for the first, which nothing precedes."""


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
    prompt_logprobs: PromptLogprobs | None = None
    """Where asked for, in the first chunk."""


@dataclass(frozen=True)
class Scores:
    """What one forward pass over a prompt says."""

    of_prompt: PromptLogprobs
    token: Token | None
    """The token that follows; None where none is wanted, or the text ends."""
    ending: Ending


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
        self.prompt_ids = list(prompt_ids)
        self.logprobs = logprobs
        self.guide = guide
        self.network = task.decodes(loaded.model.network)
        self._exact = exact
        self._streamed = streamed
        self._task = task
        self._decoding = decoding
        self._text = TextStream(loaded.model.tokenizer.decode, stop)
        self._echo_logprobs = echo_logprobs
        self._scored = False
        self._of_prompt: PromptLogprobs | None = None
        self._count = 0
        self._held = ""
        self._noted: list[TokenLogprobs] = []
        self._ended = False
        self._refuse_what_is_not_offered()

    def _refuse_what_is_not_offered(self) -> None:
        searches = isinstance(self._decoding, Beams)
        for param, asked in (("logprobs", self.logprobs is not None), ("response_format", self.guide is not None)):
            if asked and (searches or self.network is None):
                why = "a search has none" if searches else f"{self.loaded.name} does not write token by token"
                raise RequestError(f"{param} is not offered here: {why}; leave it out.", 400, param)
        if self._echo_logprobs and not isinstance(self.network, PredictsPrompt):
            raise RequestError(
                f"{self.loaded.name} does not predict its prompt, so there are no log probabilities to echo.",
                400,
                "logprobs",
            )

    @property
    def joins(self) -> bool:
        """Whether it can be decoded in one forward pass with others."""
        sampled = isinstance(self._decoding, Sampling)
        return sampled and not self._exact and self.network is not None and self.network.joins

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen, where they are."""
        assert isinstance(self._decoding, Sampling)
        return self._decoding

    @property
    def ended(self) -> bool:
        """Whether the last chunk was given."""
        return self._ended

    def steps(self) -> Generator[Chunk | None, None, None]:
        """One token a step; of a search, one token of every beam."""
        if isinstance(self._decoding, Beams):
            return self._search(self._decoding)
        return self._alone(self._decoding)

    def _alone(self, sampling: Sampling) -> Generator[Chunk | None, None, None]:
        tokens = self._tokens(sampling)
        while not self._ended:
            try:
                token = next(tokens)
            except StopIteration as end:
                yield self.finish(end.value)
                return
            yield self.push(token)
        tokens.close()

    def _take(self, token: Token) -> None:
        self._count += 1
        self._held += self._text.push(token.id)
        if token.logprobs is not None:
            self._noted.append(token.logprobs)

    def push(self, token: Token) -> Chunk | None:
        """Take the next token; return the chunk that is due, the last one where a stop text is met."""
        self._take(token)
        if self._text.stopped:
            return self._chunk(Ending.stop)
        return self._chunk(None) if self._streamed or self._count == 1 else None

    def finish(self, ending: Ending) -> Chunk:
        """Take note that no token follows; return the last chunk."""
        self._held += self._text.finish()
        return self._chunk(Ending.stop if self._text.stopped else ending)

    def _chunk(self, ending: Ending | None) -> Chunk:
        self._ended = ending is not None
        if self._echo_logprobs and not self._scored:
            network: object = self.network
            assert isinstance(network, PredictsPrompt)
            (logits_TV,) = network.prompt_logits([self.prompt_ids])
            self._of_prompt, self._scored = self._prompt_logprobs(logits_TV), True
        chunk = Chunk(self._held, self._count, ending, tuple(self._noted), self._of_prompt)
        self._held, self._noted, self._of_prompt = "", [], None
        return chunk

    def _prompt_logprobs(self, logits_TV: Tensor) -> PromptLogprobs:
        return (None, *of_tokens(logits_TV[:-1], self.prompt_ids[1:], self.logprobs or 0))

    @property
    def only_scores(self) -> bool:
        """Whether one forward pass gives all that is wanted: the prompt's log probabilities, and a token at most."""
        otherwise = self._streamed or self._exact or self.guide is not None
        return self._echo_logprobs and not otherwise and self.sampling.max_new_tokens <= 1

    def scores(self, logits_TV: Tensor) -> Scores:
        """What the logits after each of the prompt's tokens give one that `only_scores`; changes nothing.

        Raises:
            ModelError: A logit is not a number.
        """
        assert self.network is not None
        text = GeneratedSequence(self.prompt_ids, self.sampling, self.network.max_length, logprobs=self.logprobs)
        token = text.take(logits_TV[-1]) if text.ending is None else None
        return Scores(self._prompt_logprobs(logits_TV), token, text.ending or Ending.length)

    def finish_scored(self, found: Scores) -> Chunk:
        """Take what was found; return the only chunk."""
        self._of_prompt, self._scored = found.of_prompt, True
        if found.token is not None:
            self._take(found.token)
        return self.finish(found.ending)

    def _tokens(self, sampling: Sampling) -> Generator[Token, None, Ending]:
        if self.network is not None:
            return (yield from generate_tokens(self.network, self.prompt_ids, sampling, self.guide, self.logprobs))
        tokens = self._task.generate(self.loaded.model.network, self.prompt_ids, sampling)
        while True:
            try:
                token = next(tokens)
            except StopIteration as end:
                ending: Ending = end.value
                return ending
            yield Token(token, None)

    @property
    def search_key(self) -> Hashable | None:
        """Equal for searches that can be made together; None for what is no search, or decoded alone."""
        together = isinstance(self._decoding, Beams) and self.network is not None and not self._exact
        return (id(self.loaded), self._decoding) if together else None

    def searched_with(
        self, others: Sequence[Completion], dropped: Collection[int]
    ) -> Generator[dict[int, list[int]], None, object]:
        """Search this answer, the first, and those of jobs of the same `search_key`; see `Generates.searches`."""
        assert isinstance(self._decoding, Beams) and self.network is not None
        prompts = [self.prompt_ids, *(other.prompt_ids for other in others)]
        return self._task.searches(self.network, self.loaded.model.tokenizer, prompts, self._decoding, dropped)

    def found(self, tokens: Sequence[int]) -> Chunk:
        """The only chunk of a search that found these tokens."""
        assert isinstance(self._decoding, Beams)
        text = "".join(self._text.push(token) for token in tokens) + self._text.finish()
        full = len(tokens) == self._decoding.max_new_tokens and not self._text.stopped
        return Chunk(text, len(tokens), Ending.length if full else Ending.stop)

    def _search(self, beams: Beams) -> Generator[Chunk | None, None, None]:
        model = self.loaded.model
        network = model.network if self.network is None else cast("nn.Module", self.network)
        yield self.found((yield from self._task.search(network, model.tokenizer, self.prompt_ids, beams)))


class Scoring(BatchJob[Completion, Chunk]):
    """Scores a prompt, in one forward pass with other requests' prompts; its event is a list of one chunk.

    Args:
        completion: What is asked; it `only_scores`.
    """

    def __init__(self, completion: Completion) -> None:
        super().__init__(completion.loaded)
        self.prompt_tokens = completion.prompt_tokens
        self._completion = completion

    @property
    def group_key(self) -> Hashable:
        """Equal for short prompts of one loaded version."""
        alone = id(self) if self.prompt_tokens > _TOGETHER_TOKENS else None
        return type(self), id(self.loaded), alone

    def items(self) -> Sequence[Completion]:
        """The completion."""
        return [self._completion]

    def size(self, item: Completion) -> int:
        """Tokens of its prompt."""
        return item.prompt_tokens

    def run(self, items: Sequence[Completion]) -> Sequence[Chunk]:
        """Score the prompts of some completions, and give each its token.

        Raises:
            ModelError: A logit is not a number.
        """
        network: object = items[0].network
        assert isinstance(network, PredictsPrompt)
        logits = network.prompt_logits([item.prompt_ids for item in items])
        # All before any takes its own: where one fails, the others are scored once more.
        found = [item.scores(logits_TV) for item, logits_TV in zip(items, logits, strict=True)]
        return [item.finish_scored(scores) for item, scores in zip(items, found, strict=True)]
