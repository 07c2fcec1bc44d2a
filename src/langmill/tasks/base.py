"""What a task is: examples, batches, a loss and predictions.

A task is one file: an options dataclass, a `Task`, and `TASKS.register` over it. Nothing outside this package asks
which task it is dealing with. How its models are judged is no part of it: `langmill.scoring`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.sections import Training
from langmill.data.document import Document
from langmill.errors import ConfigError, ModelError
from langmill.models.base import Backbone, EncoderDecoder, Kind
from langmill.models.generation.beam_search import Accepts, beam_steps
from langmill.models.generation.config import Beams, GenerationConfig, Sampling
from langmill.models.generation.generate import generate
from langmill.models.generation.network import Decodes, Ending
from langmill.plugins import Registry
from langmill.tasks.batching import Batch, MicroBatches, pad
from langmill.tokenization.chat_template import Message
from langmill.tokenization.encoding import Example, encode_examples
from langmill.tokenization.shards import EncodedDocument, Shard
from langmill.tokenization.tokenizer import Tokenizer

UNSEEN_LABEL = "unseen_label"
"""The reason of `Task.check` for a document whose label training does not have."""


class Generates(ABC):
    """What a task offers besides when its model answers with text, token by token: `class Chat(Task, Generates)`.

    The server and the packaged model ask with `isinstance` what a model can do; they never ask which task it is.
    """

    eot_before: ClassVar[bool] = False
    """Whether `prompt_ids` puts the end-of-text token before a prompt, as other programs then have to."""
    eot_after: ClassVar[bool] = False
    """Whether it puts one after it."""

    @abstractmethod
    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """The tokens that generation goes on from, at least one, also for an empty prompt."""

    def given_ids(self, tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
        """What `prompt_ids` would be of a prompt that is given as the very tokens to be read."""
        del tokenizer
        return list(ids)

    def room(self, prompt_ids: Sequence[int], max_length: int) -> int:
        """New tokens that fit behind a prompt of at most `max_length` tokens, where the network can read that many.

        The last new token is written and never read.
        """
        return max_length - len(prompt_ids) + 1

    def fit(
        self, decoding: Sampling | Beams, prompt_ids: Sequence[int], max_length: int, model: str, asked: str | None
    ) -> Sampling | Beams:
        """Shorten an answer to the room behind its prompt, unless its length was asked for.

        Args:
            decoding: How to write it.
            prompt_ids: The prompt.
            max_length: Context length in tokens.
            model: What the asker calls it.
            asked: What the asker calls `max_new_tokens` and gave a value; None where the value is the model's own.

        Raises:
            ModelError: The prompt is too long.
            ConfigError: More tokens were asked for than there is room for.
        """
        if len(prompt_ids) > max_length:
            raise ModelError(f"prompt has {len(prompt_ids)} tokens; up to {max_length} are allowed.", code="impossible")
        room = self.room(prompt_ids, max_length)
        if asked is not None and decoding.max_new_tokens > room:
            raise ConfigError(
                f"{asked} is {decoding.max_new_tokens}; after a prompt of {len(prompt_ids)} tokens up to {room} are "
                f"allowed, since {model} has a context of {max_length}.",
                code="impossible",
            )
        return dataclasses.replace(decoding, max_new_tokens=min(decoding.max_new_tokens, room))

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """The tokens that end an answer; they are no part of it."""
        return tokenizer.stop_ids

    @property
    def generation_config(self) -> GenerationConfig:
        """How an answer is written where neither asker nor model folder says: drawn as the network says."""
        return GenerationConfig(max_new_tokens=64, temperature=1.0)

    def generate(
        self, network: nn.Module, prompt_ids: Sequence[int], sampling: Sampling
    ) -> Generator[int, None, Ending]:
        """The answer's tokens, one at a time, without the token that ended it; the generator returns why it ended.

        Several of these iterators are advanced round-robin in one thread.
        """
        return (yield from generate(cast("Decodes", network), prompt_ids, sampling))

    def decodes(self, network: nn.Module) -> Decodes | None:
        """The network, if `generate` asks it for token after token and does nothing else; None for a task's own way.

        The server then decodes the texts of several requests together, and can tell log probabilities.
        """
        own_way = type(self).generate is not Generates.generate
        return None if own_way or not isinstance(network, Decodes) else network

    def accepts(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> Accepts | None:
        """Which answers to a prompt a search prefers to more likely ones, where asked to keep the placeholders.

        None where the task knows of none.
        """
        del tokenizer, prompt_ids
        return None

    def search(
        self, network: nn.Module, tokenizer: Tokenizer, prompt_ids: Sequence[int], beams: Beams
    ) -> Generator[None, None, list[int]]:
        """The most likely answer's tokens, which the generator returns; it yields between two turns of the search."""
        steps = self.searches(cast("Decodes", network), tokenizer, [prompt_ids], beams)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                (found,) = end.value
                return list(found)
            yield

    def searches(
        self,
        network: Decodes,
        tokenizer: Tokenizer,
        prompts: Sequence[Sequence[int]],
        beams: Beams,
        dropped: Collection[int] = (),
    ) -> Generator[dict[int, list[int]], None, list[list[int]]]:
        """Search the answers to several prompts in one pass a token; see `beam_steps`."""
        accepts = [self.accepts(tokenizer, ids) if beams.keep_placeholders else None for ids in prompts]
        return beam_steps(network, prompts, beams, accepts, dropped=dropped)


class Chats(ABC):
    """What a task offers besides when its model answers in conversations; it is one of those that `Generates`."""

    @abstractmethod
    def conversation_ids(
        self, tokenizer: Tokenizer, messages: Sequence[Message], max_tokens: int | None = None
    ) -> list[int]:
        """The tokens that the answer to a conversation goes on from.

        Args:
            tokenizer: The model's.
            messages: What was said, the user's words last. Special tokens in them are ordinary text.
            max_tokens: The oldest turns are left out where there would be more than so many tokens, then the beginning
                of the user's last words. None leaves nothing out.

        Raises:
            ModelError: It is no conversation that an assistant can answer.
            TokenizerError: The model's chat template refuses it, or fails.
        """


class Classifies(ABC):
    """What a task offers besides when its model answers with one of `labels`."""

    @abstractmethod
    def probabilities(self, network: nn.Module, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
        """The probability of each label, `(texts, labels)` in the order of `Task.labels`; a row sums to 1.

        A text longer than the context is truncated as it was in training.
        """


@dataclass(frozen=True)
class EncodedInput:
    """What a network reads of a text that it is asked about."""

    tokens: list[int]
    """As the network gets them, at least one: truncated, and with what the task puts before or after them."""
    left_out: int
    """Tokens of the text that were truncated because the context is shorter."""


class Embeds:
    """What a task offers besides when its network's hidden states can stand for a text.

    The network is one of `langmill.models.heads`.
    """

    @torch.inference_mode()
    def embed(self, network: nn.Module, tokenizer: Tokenizer, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Embed texts: the mean of the last layer's hidden states, of Euclidean length 1, `(texts, dim)` in float32.

        The mean is over all that the network reads of a text, but for the end-of-text token that a language model has
        before it: its state says nothing of the text. Of an encoder-decoder they are the encoder's.

        Args:
            network: In evaluation mode.
            tokenizer: Its vocabulary.
            ids: The tokens of each text, one or more, at most as many as `embed_length` says.
        """
        backbone = cast("Backbone", network.model)
        before, after = self._around(tokenizer)
        read = [np.asarray([*before, *each, *after], dtype=np.int64) for each in ids]
        tokens_BT, lengths_B = (each.to(device_of(network)) for each in pad(read, tokenizer.eot_id))
        reads = backbone.encode if isinstance(backbone, EncoderDecoder) else backbone
        hidden_BTD: Tensor = reads(tokens_BT, lengths_B).float()[:, len(before) :]
        # A pretrained encoder's own special tokens are pooled too, as in sentence-transformers.
        counts_B = lengths_B + (hidden_BTD.shape[1] - tokens_BT.shape[1])
        pooled_BT1 = (torch.arange(hidden_BTD.shape[1], device=counts_B.device) < counts_B[:, None])[..., None]
        mean_BD = hidden_BTD.masked_fill(~pooled_BT1, 0.0).sum(dim=1) / counts_B[:, None]
        return np.asarray(F.normalize(mean_BD, dim=-1).cpu().numpy())

    def embed_length(self, tokenizer: Tokenizer, max_length: int) -> int:
        """Tokens of a text that can be embedded, where the network reads `max_length`."""
        return max_length - sum(map(len, self._around(tokenizer)))

    def _around(self, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
        """What stands before and after a text where the network was trained on it."""
        before = isinstance(self, Generates) and self.eot_before
        after = isinstance(self, Generates) and self.eot_after
        return [tokenizer.eot_id] * before, [tokenizer.eot_id] * after


class Translates(ABC):
    """What a task offers besides when its model writes the target of a source; it is one of those that `Generates`."""

    @property
    @abstractmethod
    def languages(self) -> tuple[str | None, str | None]:
        """The languages of source and target, as codes of BCP 47 (`en`, `pt-BR`); None where the recipe says none."""


class Explains(ABC):
    """What a task offers besides when one may look into its network while it reads a text.

    The network is one of `langmill.models.heads`; with the head comes what can be shown.
    """

    @abstractmethod
    def encode_input(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> EncodedInput:
        """What the network reads of a text, truncated as it was in training."""


class Task(ABC):
    """One kind of learning problem.

    Attributes:
        options: The task's own typed settings.
        labels: The classes in their order; empty for tasks without labels.
    """

    options_class: ClassVar[type[Any]]
    kinds: ClassVar[frozenset[Kind]]
    """The kinds of network that can learn it."""
    earlier_options: ClassVar[Mapping[str, Any]] = {}
    """Values for options that older models lack, by the option's name; see `load_model`."""
    special_tokens: ClassVar[tuple[str, ...]] = ()
    """The special tokens that a vocabulary made for it gets."""
    needs_special_tokens: ClassVar[bool] = False
    """Whether it can't be learned without them."""
    needs_base: ClassVar[bool] = False
    """Whether it is learned from a model that can do something already, and not from scratch."""
    scorer: ClassVar[str]
    """The name of what judges its models (`langmill.scoring`)."""

    def __init__(self, options: Any, labels: Sequence[str] = ()) -> None:
        self.options = options
        self.labels = tuple(labels)

    # Data ------------------------------------------------------------------------------------------------------------

    def check(self, document: Document) -> str | None:
        """Why this document can't be used (`missing_label`), or None; such documents are counted and left out."""
        return None if document.text else "empty_text"

    def find_labels(self, documents: Iterable[Document]) -> list[str]:
        """The labels in the training split, sorted; empty for tasks without labels.

        Raises DataError where the task needs labels and there are fewer than two.
        """
        del documents
        return []

    def parts(self, document: Document) -> list[str]:
        """The texts of an example, each encoded by itself: (text,) or (prompt, response)."""
        return [document.text]

    def covered(self, documents: Iterable[Document]) -> Set[str]:
        """The ids of documents that training leaves out, since all that they teach stands in others too."""
        del documents
        return frozenset()

    def encode(self, documents: Iterable[Document], tokenizer: Tokenizer, threads: int) -> Iterator[EncodedDocument]:
        """Encode documents that `check` lets through, in their order; the number of threads changes nothing."""
        examples = (Example(document.id, self.parts(document), document.label) for document in documents)
        return encode_examples(examples, tokenizer, threads)

    def chat_template(self, tokenizer: Tokenizer) -> str | None:
        """The chat template (Jinja) that other programs are to ask its models through, if there is one."""
        return tokenizer.chat_template

    @abstractmethod
    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """The training batches of one process, as a pure function of (seed, epoch, step)."""

    @abstractmethod
    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """The batches of one validation: always the same ones, in the same order, for every process.

        Empty where the shard has no documents.
        """

    def context_length(self, block_length: int) -> int:
        """Context length that the network must have, where training truncates at `block_length`."""
        return block_length

    # Learning --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with this task's head on it."""

    def observe(self, backbone: Backbone, shard: Shard) -> None:
        """Show a network with random weights the training split, from which it may take its first weights."""
        del backbone, shard

    def before_training(self, network: nn.Module) -> None:
        """Look at the network that training starts from: before the first step, and before a checkpoint is restored."""
        del network

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The mean loss over the targets of a micro-batch, in nats, a scalar; 0 where it has none."""

    @abstractmethod
    def num_targets(self, batch: Batch) -> float:
        """What the mean of a micro-batch is a mean over: its targets (tokens or labels), each with its weight.

        A function of the batch alone: the loss of a step is the sum over its targets divided by their number, over all
        micro-batches and processes, which must be known before the first one's gradients are made.
        """

    @abstractmethod
    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """What the network makes of a prompt, as text to be read during training."""

    def with_labels(self, labels: Sequence[str]) -> Self:
        """This task over other labels."""
        return type(self)(self.options, labels)


TASKS: Registry[Task] = Registry("tasks", Task, "langmill.tasks", "task.name")


def build_task(name: str, options: Mapping[str, Any], labels: Sequence[str], where: str) -> Task:
    """A task by its name. Raises ConfigError where the task is unknown or its options are refused."""
    return TASKS.find(name, where)(TASKS.options(name, options, where), labels)


def is_selected(document: Document, only: Mapping[str, Sequence[str]]) -> bool:
    """Whether each metadata field that `only` names has one of the values that it lists; none named takes all."""
    return all(document.metadata.get(field) in values for field, values in only.items())


def device_of(network: nn.Module) -> torch.device:
    """The device that a network's weights are on."""
    return next(network.parameters()).device
