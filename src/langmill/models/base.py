"""The interface of a network, and the registry of architectures.

Shape suffixes, used in every file of this package: B batch, T length in tokens, D dim, V vocabulary, K labels, H
attention heads, G key/value heads, E head_dim, F hidden_dim of the feed-forward network, L layers.

An architecture is one file: an options dataclass, a `Backbone`, and `ARCHITECTURES.register` over the backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor, nn

from langmill.errors import ModelError
from langmill.models.folder import Adapter, backbone_state, load_state, load_weights
from langmill.plugins import Registry

EMBEDDING_STD = 0.02
"""Standard deviation of an embedding's weights at the start (GPT-2: Radford et al., 2019)."""


def head_std(dim: int) -> float:
    """Initial standard deviation of a head's weights, from hidden states of this dim to logits.

    That of the embedding, limited so that no token's own logit exceeds 2.6 with a tied head: at the start the
    normalised hidden state points along the token's own embedding, and the first loss would be above ln V.
    """
    return EMBEDDING_STD * min(1.0, 128 / dim)


class Kind(StrEnum):
    """The tokens that a hidden state may depend on."""

    causal = "causal"
    """Its own token and those before it: a text can be continued."""
    bidirectional = "bidirectional"
    """Every token of the text."""
    encoder_decoder = "encoder_decoder"
    """Every token of a source text, and the target's tokens up to its own."""


class Cache(ABC):
    """State of a backbone after the tokens seen: keys and values, or a recurrent state."""

    lengths: list[int]
    """Tokens seen of each sequence."""

    @property
    def length(self) -> int:
        """Tokens seen of the longest sequence."""
        return max(self.lengths, default=0)

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""

    def advance(self, num_tokens: int, lengths_B: Tensor | None) -> None:
        """Count the tokens that a forward pass has read: `num_tokens` of each sequence, or `lengths_B`."""
        new = [num_tokens] * len(self.lengths) if lengths_B is None else lengths_B.tolist()
        self.lengths = [old + more for old, more in zip(self.lengths, new, strict=True)]


class JoinableCache(Cache):
    """A cache that sequences join and leave while others are decoded in it: see `langmill.models.generation.slots`.

    Our own are written by row and only ever grow, by doubling; the rows in use are the first ones, without gaps.
    """

    @abstractmethod
    def emptied(self) -> Self:
        """Make a cache of this kind and width without sequences and memory."""

    @abstractmethod
    def join(self, other: Cache, capacity: int) -> None:
        """Copy the only sequence of `other` into a new last row, with room for `capacity` tokens."""

    @abstractmethod
    def remove(self, row: int) -> None:
        """Forget a sequence; the last row takes its place."""

    def prefix(self, row: int, length: int, capacity: int) -> Self | None:
        """Copy the first `length` tokens of a row into a cache of its own; None where that is not possible."""
        del row, length, capacity
        return None

    @property
    def token_bytes(self) -> int:
        """Bytes that one token of a sequence takes."""
        return 0


def doubled(size: int, needed: int) -> int:
    """The next size of memory that must hold `needed`: doubled, as often as it takes."""
    size = max(size, 1)
    while size < needed:
        size *= 2
    return size


CacheT = TypeVar("CacheT", bound=Cache)


def own_cache(cache: Cache | None, kind: type[CacheT], batch_size: int) -> CacheT:
    """The cache that a network was given; ModelError where it is of another kind, or for other sequences."""
    if not isinstance(cache, kind) or len(cache.lengths) != batch_size:
        raise ModelError(
            f"The cache is not one that this network made for {batch_size} sequences; make it with new_cache(), or of "
            "a source text with begin().",
            code="mismatch",
        )
    return cache


def refuse_length(length: int, allowed: int) -> None:
    """Refuse a sequence of more tokens than are allowed, with a ModelError."""
    if length > allowed:
        message = f"A sequence of {length} tokens is longer than the model's {allowed}; shorten the text."
        raise ModelError(message, code="impossible")


class Backbone(nn.Module, ABC):
    """Token ids to hidden states; heads for tasks sit on top (`langmill.models.heads`)."""

    options_class: ClassVar[type[Any]]
    """The dataclass of the architecture's options."""
    earlier_options: ClassVar[Mapping[str, Any]] = {}
    """Values for options that older models lack, by option name; see `langmill.tasks.loading`."""
    needs_base: ClassVar[bool] = False
    """Whether it can only start from a base model, which defines the network."""
    free_options: ClassVar[frozenset[str]] = frozenset()
    """Options that may differ from those of the base that training starts from."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages beside torch that influence its result: their versions belong to a model's provenance."""
    stored_copies: ClassVar[Mapping[str, str]] = {}
    """With a tied head: additional names in the weights file for weights that it already holds, for programs that would
    tie them otherwise."""
    kind: Kind
    """The tokens that a hidden state depends on."""
    joins: ClassVar[bool] = False
    """Whether its caches are `JoinableCache`s, so that texts of several requests are decoded together; else each is
    decoded alone."""
    language_model: str = "LangmillLanguageModel"
    """A language model's class in `config.json`: Hugging Face's, where that opens the same weights."""
    settings: Any
    """The architecture's options, of `options_class`."""
    dim: int
    """Size of a hidden state."""
    vocab_size: int
    """Entries of the tokenizer's vocabulary."""
    max_length: int
    """Context length in tokens."""
    tie_embeddings: bool
    """Whether a language model's head is the token embedding itself."""

    @abstractmethod
    def __init__(self, settings: Any, vocab_size: int, max_length: int) -> None:
        super().__init__()
        self.settings = settings
        self.dim = settings.dim
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.tie_embeddings = settings.tie_embeddings

    @classmethod
    def kind_of(cls, settings: Any) -> Kind | None:
        """The kind of network that these options make, None where the base says; most architectures make one only."""
        del settings
        return cls.kind

    @classmethod
    def build(cls, settings: Any, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """Make a network with random weights, to be trained or loaded.

        Most architectures are defined by their options alone; `source` is the folder of the model whose weights it will
        get, if any.

        Raises:
            ConfigError: The options do not fit the source.
            ModelError: The source can't be read.
        """
        del source
        return cls(settings, vocab_size, max_length)

    def start_from(self, base: Path) -> None:
        """Load the weights of another model's backbone.

        Raises:
            ModelError: They are missing, surplus or of another shape.
            IntegrityError: The folder is damaged.
        """
        load_weights(self, backbone_state(load_state(base)), str(base))

    def observe_labels(self, texts: Sequence[np.ndarray], labels_N: np.ndarray) -> None:
        """Take what the first weights need from the training texts' tokens and labels; most networks need nothing.

        Called once, before the first step of a training from random weights.
        """

    def prepare_for_training(self, network: nn.Module) -> None:
        """Prepare for training `network`, which holds this backbone; here every weight is trained.

        Called once the network has its first weights, or before it gets those of a network that was so prepared. Raises
        ConfigError where the options leave nothing to train, or name no part of the network.
        """

    def prepare_for_inference(self) -> None:
        """Arrange the weights for generating, on the device where they are; names, values and results stay."""

    def merge_adapter(self, network: nn.Module) -> Adapter | None:
        """Merge the adapter of `network`, which holds this backbone, and return it detached; None without one."""
        del network
        return None

    @property
    def special_token_template(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids that the network itself puts before and after every text; empty except for pretrained encoders."""
        return (), ()

    def language_model_head(self) -> nn.Module | None:
        """The network's own module from hidden states to logits; None has one made where it is needed."""
        return None

    def classification_head(self, num_labels: int) -> nn.Module | None:
        """The network's own module from `(tokens_BT, lengths_B)` to logits `(batch, labels)`, made before weights load.

        None has the mean of the hidden states classified.
        """
        del num_labels
        return None

    def stored_names(self, network: nn.Module) -> dict[str, str]:
        """Names in the weights file, by name in `network`, which holds this backbone."""
        return {name: name for name in network.state_dict()}

    @abstractmethod
    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)`.

        Args:
            tokens_BT: Token ids; sequences shorter than T are padded at their end.
            lengths_B: Real tokens of each sequence; None where nothing is padded. Hidden states at padding are
                undefined, and those of real tokens do not depend on it.
            cache: The tokens seen before; updated in place.
        """

    def new_cache(self, batch_size: int, capacity: int | None = None) -> Cache:
        """Make an empty cache for `forward`, of `capacity` tokens for each sequence (None: `max_length`).

        Raises ModelError where the network is not causal, so there is nothing to cache.
        """
        del batch_size, capacity
        message = f"A network of the kind {self.kind.value} can't continue a text by itself."
        raise ModelError(message, code="unsupported")

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """The token embedding, to which a language model's head may be tied."""

    @property
    def token_states(self) -> nn.Module:
        """The layer that all a token says goes through, `(batch, length, ...)`: what a prediction is attributed to."""
        return self.embedding

    @abstractmethod
    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of a forward pass for one token in a sequence of `length`, the head left out."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Describe the backbone for `config.json`, by Hugging Face's names where there are any."""


class EncoderDecoder(Backbone):
    """A bidirectional encoder of a source text and a causal decoder of a target text.

    `forward` decodes with a cache that `begin` made; `decode` is the same for whole sequences.
    """

    kind = Kind.encoder_decoder
    start_id: int | None = None
    """The decoder's first input token; None: the token that ends the source text."""

    @abstractmethod
    def encode(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the memory `(batch, source length, dim)`, the encoder's hidden states; arguments as in `forward`."""

    @abstractmethod
    def decode(self, tokens_BT: Tensor, memory_BSD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)` of whole target sequences, the start token first.

        `lengths_B` are the real *source* tokens of each, as for `encode`.
        """

    @abstractmethod
    def begin(self, memory_BSD: Tensor, lengths_B: Tensor | None, capacity: int) -> Cache:
        """Make a cache for `forward` that holds the memory, of `capacity` target tokens for each sequence."""


@runtime_checkable
class Attends(Protocol):
    """A backbone with self-attention; checked with `isinstance`."""

    def attention(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the attention weights of all layers, `(layers, batch, heads, T, T)` in float32.

        T includes the backbone's `special_token_template`. The weights are those of `forward` without a cache (of an
        encoder-decoder: of `encode`), in evaluation mode. A row, that of a query, sums to 1; masked positions and
        padding have 0. Rows of padding are undefined.
        """
        ...


@runtime_checkable
class AttendsToSource(Protocol):
    """An encoder-decoder with cross-attention; checked with `isinstance`."""

    def cross_attention(self, source_BS: Tensor, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the cross-attention weights of all layers, `(layers, batch, heads, T, S)` in float32.

        As in `Attends.attention`, of `encode` and `decode`; row t predicts the token after t.
        """
        ...


ARCHITECTURES: Registry[Backbone] = Registry("architectures", Backbone, "langmill.models", "model.architecture")


def build_backbone(
    name: str, options: Mapping[str, Any], vocab_size: int, max_length: int, where: str, *, source: Path | None = None
) -> Backbone:
    """Make a backbone with random weights from options that are not yet typed; see `Backbone.build`.

    Messages say that the options stand in `where`.

    Raises:
        ConfigError: The architecture is unknown, or its options are refused.
        ModelError: The source can't be read.
    """
    settings = ARCHITECTURES.options(name, options, where)
    return ARCHITECTURES.find(name).build(settings, vocab_size, max_length, source)
