"""What a network offers, and how an architecture is found by its name.

Shape suffixes, used in every file of this package: B batch, T tokens (time), D model width, V vocabulary, K labels,
H attention heads, G key/value heads, E width of one head, F feed-forward width, L layers.

An architecture is one file: an options dataclass, a `Backbone`, and `ARCHITECTURES.register` over the backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from langmill.errors import ModelError
from langmill.models.folder import Adapter, backbone_state, load_state, load_weights
from langmill.plugins import Registry

EMBEDDING_STD = 0.02
"""Standard deviation of an embedding's weights at the start (GPT-2: Radford et al., 2019)."""


def head_std(dim: int) -> float:
    """Standard deviation at the start of weights that turn a hidden state of this width into logits.

    The embedding's, but never so large that a token's own logit exceeds 2.6 where head and embedding are one (at the
    start, the normalised hidden state points along the token's own embedding): the first loss would lie above ln V.
    """
    return EMBEDDING_STD * min(1.0, 128 / dim)


class Kind(StrEnum):
    """What a hidden state may depend on."""

    causal = "causal"
    """Its own token and those before it: text can be gone on from."""
    bidirectional = "bidirectional"
    """Every token of the text."""
    encoder_decoder = "encoder_decoder"
    """Every token of a source text, and of the text being written those up to its own."""


class Cache(ABC):
    """What a backbone remembers of the tokens it has seen (keys and values, or a recurrent state)."""

    lengths: list[int]
    """Tokens seen of each sequence."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Tokens seen of the longest sequence."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but these, and put these in this order."""

    @abstractmethod
    def append(self, other: Cache) -> None:
        """Take in the sequences of another cache of the same network and capacity, after one's own."""


class Backbone(nn.Module, ABC):
    """Token ids to hidden states; heads for tasks sit on top (`langmill.models.heads`)."""

    options_class: ClassVar[type[Any]]
    """The dataclass of the architecture's options."""
    earlier_options: ClassVar[Mapping[str, Any]] = {}
    """What a model was made with that is older than an option, by the option's name; see `langmill.tasks.loading`."""
    needs_base: ClassVar[bool] = False
    """Whether it can only start from a base's weights, since the base says what network it is."""
    free_options: ClassVar[frozenset[str]] = frozenset()
    """Options that may differ from those of the base that training starts from."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages beside torch that compute a part of its result: their versions belong to a model's provenance."""
    stored_copies: ClassVar[Mapping[str, str]] = {}
    """With a tied head: further names in a model's file of weights that stand there already, for programs that would
    tie them otherwise."""
    kind: Kind
    """What a hidden state depends on."""
    language_model: str = "LangmillLanguageModel"
    """A language model's class in `config.json`: Hugging Face's, where that opens the same weights."""
    settings: Any
    """The architecture's options, of `options_class`."""
    dim: int
    """Width of a hidden state."""
    vocab_size: int
    max_length: int
    """Tokens the network can look back on."""
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
    def kind_of(cls, settings: Any) -> Kind:
        """What kind of network these options make; most architectures make one kind only."""
        del settings
        return cls.kind

    @classmethod
    def build(cls, settings: Any, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """A network with weights yet to be learned or loaded.

        Args:
            settings: The architecture's options, of `options_class`.
            vocab_size: Entries of the tokenizer's vocabulary.
            max_length: Tokens in a sequence, at most.
            source: The folder of the model whose weights it will get; None where they are drawn at random. Most
                architectures need only their options to know what network they are.

        Raises:
            ConfigError: The options do not fit the source.
            ModelError: The source can't be read.
        """
        del source
        return cls(settings, vocab_size, max_length)

    def start_from(self, base: Path) -> None:
        """Take the weights of another model's backbone.

        Raises:
            ModelError: They are missing, surplus or of another shape.
            IntegrityError: The folder is damaged.
        """
        load_weights(self, backbone_state(load_state(base)), str(base))

    def prepare_for_training(self) -> None:
        """Prepare for training, once the first weights are there; here every weight is trained."""

    def merge_adapter(self) -> Adapter | None:
        """Merge the adapter into the weights, and return it detached; None where there is none."""
        return None

    @property
    def special_token_template(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids that the network itself puts before and after every text; empty except for pretrained encoders."""
        return (), ()

    def language_model_head(self) -> nn.Module | None:
        """A module from hidden states to logits that comes with the network; None has one made where it is needed."""
        return None

    def use_labels(self, num_labels: int) -> None:
        """Be told the number of labels before weights are loaded; a network with a head of its own is made for them."""

    def classification_head(self) -> nn.Module | None:
        """A module from `(tokens_BT, lengths_B)` to logits `(batch, labels)` that comes with the network.

        None has the mean of the hidden states classified.
        """
        return None

    def stored_names(self, network: nn.Module) -> dict[str, str]:
        """What each weight of `network`, which holds this backbone, is called in a model's file."""
        return {name: name for name in network.state_dict()}

    @abstractmethod
    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Hidden states `(batch, tokens, width)`.

        Args:
            tokens_BT: Token ids; sequences shorter than T are padded at their end.
            lengths_B: Real tokens of each sequence; None where nothing is padded. What stands at padded places is
                undefined, and real places do not depend on them.
            cache: What was seen before these tokens; it is brought up to date in place.
        """

    @abstractmethod
    def new_cache(self, batch_size: int, capacity: int | None = None) -> Cache:
        """An empty cache for `forward`, with room for `capacity` tokens of each sequence (None: `max_length`).

        Raises:
            ModelError: The network does not go from left to right, so that there is nothing to keep.
        """

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """The token embedding, to which a language model's head may be tied."""

    @abstractmethod
    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of a forward pass for one token in a sequence of `length`, the head left out."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The entries of `config.json` that describe the backbone (Hugging Face's names where there are any)."""


class EncoderDecoder(Backbone):
    """Reads a source text both ways, then writes another one from left to right.

    `forward` is the decoder going on from a cache that `begin` made; `decode` is the same of whole sequences.
    """

    kind = Kind.encoder_decoder
    start_id: int | None = None
    """The token that the decoder reads first; None: the one that ends the source text."""

    @abstractmethod
    def encode(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The memory `(batch, source tokens, width)`: the encoder's hidden states.

        Args:
            source_BS: Token ids; sequences shorter than S are padded at their end.
            lengths_B: Real tokens of each sequence; None where nothing is padded.
        """

    @abstractmethod
    def decode(self, tokens_BT: Tensor, memory_BSD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Hidden states `(batch, tokens, width)` of whole target sequences.

        Args:
            tokens_BT: What the decoder reads, the start token first; padded at the end.
            memory_BSD: What `encode` gave.
            lengths_B: Real *source* tokens of each sequence; None where nothing is padded.
        """

    @abstractmethod
    def begin(self, memory_BSD: Tensor, lengths_B: Tensor | None, capacity: int) -> Cache:
        """A cache for `forward` that holds the memory and has room for `capacity` target tokens of each sequence."""

    def new_cache(self, batch_size: int, capacity: int | None = None) -> Cache:
        """Refused: a cache comes from a source text (`begin`).

        Raises:
            ModelError: Always.
        """
        raise ModelError("An encoder-decoder writes from a source text; make its cache with begin().")


@runtime_checkable
class Attends(Protocol):
    """What a backbone offers besides when its tokens look at one another; asked for with `isinstance`."""

    def attention(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The weights by which each token mixes what it reads of its own text: `(layers, batch, heads, T, T)`, float32.

        T includes the backbone's `special_token_template`. The weights are those of `forward` without a cache (an
        encoder-decoder's: of `encode`), in evaluation mode. A row, the token that looks, sums to 1; places that may not
        be seen and padding have 0. Rows of padding are undefined.

        Args:
            tokens_BT: Token ids, padded at the end.
            lengths_B: Real tokens of each sequence; None where nothing is padded.
        """
        ...


@runtime_checkable
class AttendsToSource(Protocol):
    """What an encoder-decoder offers besides when its decoder looks at the source."""

    def cross_attention(self, source_BS: Tensor, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The weights by which each target token mixes what it reads of the source: `(layers, batch, heads, T, S)`.

        As in `Attends.attention`, of `encode` and `decode`.

        Args:
            source_BS: Source texts, padded at the end.
            tokens_BT: What the decoder reads, the start token first; from row t the token after t is told.
            lengths_B: Real source tokens of each sequence; None where nothing is padded.
        """
        ...


ARCHITECTURES: Registry[Backbone] = Registry("architectures", Backbone, "langmill.models", "model.architecture")


def build_backbone(
    name: str, options: Mapping[str, Any], vocab_size: int, max_length: int, where: str, *, source: Path | None = None
) -> Backbone:
    """A freshly initialised backbone.

    Args:
        name: The architecture.
        options: Its settings, not yet typed.
        vocab_size: Entries of the tokenizer's vocabulary.
        max_length: Tokens in a sequence, at most.
        where: What the options come from, for messages.
        source: The folder of the model whose weights it will get, if any.

    Raises:
        ConfigError: The architecture is unknown, or its options are refused.
        ModelError: The source can't be read.
    """
    settings = ARCHITECTURES.options(name, options, where)
    return ARCHITECTURES.find(name).build(settings, vocab_size, max_length, source)
