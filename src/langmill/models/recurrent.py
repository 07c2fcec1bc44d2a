"""The base class of the recurrent architectures: token embedding, a stack of recurrent layers, and their state.

`rnn`, `lstm` and `gru` are a file each, with their equations; torch runs a whole layer in one call.
Shape suffixes: see `langmill.models.base`; X stands for embedding_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from langmill.config.constraints import Share, require
from langmill.config.typed import settings
from langmill.errors import ModelError
from langmill.models.base import Backbone, Cache, JoinableCache, Kind, doubled, head_std, own_cache


@settings
class RecurrentSettings:
    """Options of the architectures `rnn`, `lstm` and `gru`."""

    embedding_dim: PositiveInt
    """Width of a token's embedding."""
    dim: PositiveInt
    """Width of a hidden state."""
    num_layers: PositiveInt
    """Recurrent layers, each reading the one below."""
    tie_embeddings: bool
    """Whether a language model's head is the token embedding itself; needs embedding_dim = dim."""
    dropout: Share
    """Share of the embedding and of each layer's outputs that is dropped in training, 0 to below 1."""

    def __post_init__(self) -> None:
        require(
            not self.tie_embeddings or self.embedding_dim == self.dim,
            "tie_embeddings",
            self.tie_embeddings,
            f"false, unless embedding_dim ({self.embedding_dim}) and dim ({self.dim}) are equal",
        )


class RecurrentCache(JoinableCache):
    """The recurrent state after the tokens seen.

    Attributes:
        states_LBD: The hidden state, and for an LSTM the cell state. There may be more rows than sequences.
        lengths: Tokens seen of each sequence.
    """

    def __init__(self, states_LBD: tuple[Tensor, ...], lengths: list[int]) -> None:
        self.states_LBD = states_LBD
        self.lengths = lengths

    @property
    def current_LBD(self) -> tuple[Tensor, ...]:
        """The states of the sequences, without unused rows; torch wants them contiguous."""
        return tuple(state[:, : len(self.lengths)].contiguous() for state in self.states_LBD)

    def write(self, states_LBD: tuple[Tensor, ...]) -> None:
        """Replace the states of all sequences."""
        if len(self.lengths) == self.states_LBD[0].shape[1]:
            self.states_LBD = states_LBD
            return
        for memory, state in zip(self.states_LBD, states_LBD, strict=True):
            memory[:, : len(self.lengths)] = state

    def emptied(self) -> Self:
        """Make a cache of this kind without sequences; see `JoinableCache`."""
        return type(self)(tuple(state[:, :0].clone() for state in self.states_LBD), [])

    def join(self, other: Cache, capacity: int) -> None:
        """Take in the only sequence of `other`; see `JoinableCache`. A state's size does not depend on `capacity`."""
        del capacity
        assert isinstance(other, RecurrentCache)
        row = len(self.lengths)
        if self.states_LBD[0].shape[1] == row:
            rows = doubled(row, row + 1)
            larger = tuple(state.new_zeros(len(state), rows, state.shape[2]) for state in self.states_LBD)
            for new, old in zip(larger, self.states_LBD, strict=True):
                new[:, :row] = old
            self.states_LBD = larger
        for state, joining in zip(self.states_LBD, other.states_LBD, strict=True):
            state[:, row] = joining[:, 0]
        self.lengths.append(other.lengths[0])

    def remove(self, row: int) -> None:
        """Forget a sequence; see `JoinableCache`."""
        last, length = len(self.lengths) - 1, self.lengths.pop()
        if row != last:
            for state in self.states_LBD:
                state[:, row] = state[:, last]
            self.lengths[row] = length

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these sequences only, in this order."""
        index = torch.tensor(rows, dtype=torch.long, device=self.states_LBD[0].device)
        self.states_LBD = tuple(state.index_select(1, index) for state in self.states_LBD)
        self.lengths = [self.lengths[row] for row in rows]


class Recurrent(Backbone):
    """A token embedding and a stack of recurrent layers; sequences longer than `max_length` are read too."""

    options_class = RecurrentSettings
    settings: RecurrentSettings
    kind = Kind.causal
    joins = True
    name: ClassVar[str]
    """The architecture's name."""
    layers_class: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]
    run_layers: ClassVar[Callable[..., tuple[Tensor, ...]]]
    """What the layers' class calls: layers of given weights."""
    num_gates: ClassVar[int]
    """Matrices that torch stacks in one."""
    num_states: ClassVar[int] = 1

    def __init__(self, settings: RecurrentSettings, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self.embed_tokens = nn.Embedding(vocab_size, settings.embedding_dim)
        self.dropout = nn.Dropout(settings.dropout)
        self.layers = self.layers_class(
            settings.embedding_dim,
            settings.dim,
            settings.num_layers,
            batch_first=True,
            dropout=settings.dropout if settings.num_layers > 1 else 0.0,  # torch drops between layers only
        )
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Initialise all weights.

        Recurrent matrices are orthogonal, gate by gate (Saxe et al., 2014), so that a state neither vanishes nor grows
        at first; matrices over the inputs are normal with a variance of one over their inputs; biases are zero. A tied
        embedding is small enough for a first loss close to ln V (`head_std`), any other is standard normal.
        """
        self.embed_tokens.weight.normal_(0.0, head_std(self.dim) if self.tie_embeddings else 1.0)
        for name, weight in self.layers.named_parameters():
            if name.startswith("weight_hh"):
                for gate_DD in weight.chunk(self.num_gates):
                    nn.init.orthogonal_(gate_DD)
            elif name.startswith("weight_ih"):
                weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))
            else:
                weight.zero_()

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)` of the last layer; see `Backbone.forward`.

        Without a cache `lengths_B` is not needed: padding is at the end, and a state depends on earlier tokens only.
        Raises ModelError where the cache is of another network or of another number of sequences.
        """
        x_BTX = self.dropout(self.embed_tokens(tokens_BT))
        if torch.compiler.is_exporting():
            hidden_BTD = self._scanned(x_BTX)
        elif cache is not None:
            hidden_BTD = self._forward_from_cache(x_BTX, lengths_B, cache)
        elif self.training and self.layers.dropout > 0:
            hidden_BTD = self._layer_by_layer(x_BTX)
        else:
            hidden_BTD, _ = self.layers(x_BTX)
        dropped_BTD: Tensor = self.dropout(hidden_BTD)
        return dropped_BTD

    def _layer_by_layer(self, x_BTD: Tensor) -> Tensor:
        """Run the layers one at a time, with torch's dropout between them.

        cuDNN, which runs all layers in one call, drops by a random state of its own: it is drawn once in a process and
        is in no checkpoint, so that a resumed training would drop other positions.
        """
        states = self.new_cache(len(x_BTD)).states_LBD
        for layer in range(self.settings.num_layers):
            own = tuple(state[layer : layer + 1] for state in states)
            state = own if self.num_states > 1 else own[0]
            weights = self.layers.all_weights[layer]
            x_BTD = self.run_layers(x_BTD, state, weights, True, 1, 0.0, True, False, True)[0]
            if layer < self.settings.num_layers - 1:
                x_BTD = self.dropout(x_BTD)
        return x_BTD

    @staticmethod
    def step(gates_BG: Tensor, states: tuple[Tensor, ...], weight_GD: Tensor, bias_G: Tensor) -> tuple[Tensor, ...]:
        """Compute a layer's states `(batch, dim)` after one token, by the equations of the architecture.

        `gates_BG` is what the input gives to each gate, bias included; weight and bias are those of the states. Exports
        that trace the network need it. Raises ModelError where the architecture has no equations of its own.
        """
        del gates_BG, states, weight_GD, bias_G
        message = (
            "This recurrent architecture does not say its equations (`step`), so it can't be traced; export it as hf."
        )
        raise ModelError(message, code="unsupported")

    def _scanned(self, x_BTX: Tensor) -> Tensor:
        """Run the layers token by token: torch's own call is traced as a loop of as many steps as its example has."""
        from torch._higher_order_ops.scan import scan  # the one loop that torch's export and ONNX both know

        for weight_ih, weight_hh, bias_ih, bias_hh in self.layers.all_weights:
            states = tuple(x_BTX.new_zeros(x_BTX.shape[0], self.dim) for _ in range(self.num_states))

            def after(
                states: tuple[Tensor, ...], gates_BG: Tensor, weight: Tensor = weight_hh, bias: Tensor = bias_hh
            ) -> tuple[tuple[Tensor, ...], Tensor]:
                states = self.step(gates_BG, states, weight, bias)
                return states, states[0].clone()  # torch allows no output to be another

            gates_TBG = F.linear(x_BTX, weight_ih, bias_ih).transpose(0, 1)
            _, hidden_TBD = scan(after, states, gates_TBG)
            x_BTX = hidden_TBD.transpose(0, 1)
        return x_BTX

    def _forward_from_cache(self, x_BTX: Tensor, lengths_B: Tensor | None, cache: Cache) -> Tensor:
        """Run the layers from the cache's states; leave in it the states after each sequence's own last token."""
        batch_size, num_tokens, _ = x_BTX.shape
        cache = own_cache(cache, RecurrentCache, batch_size)
        current_LBD = cache.current_LBD
        states = current_LBD if self.num_states > 1 else current_LBD[0]
        hidden_BTD: Tensor
        if lengths_B is None:
            hidden_BTD, states = self.layers(x_BTX, states)
        else:
            packed = pack_padded_sequence(x_BTX, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
            packed_output, states = self.layers(packed, states)
            hidden_BTD, _ = pad_packed_sequence(packed_output, batch_first=True, total_length=num_tokens)
        cache.write(states if isinstance(states, tuple) else (states,))
        cache.advance(num_tokens, lengths_B)
        return hidden_BTD

    def new_cache(self, batch_size: int, capacity: int | None = None) -> RecurrentCache:
        """Make states of zeros; their size does not depend on `capacity`."""
        del capacity
        weight = self.embed_tokens.weight
        shape = (self.settings.num_layers, batch_size, self.dim)
        return RecurrentCache(tuple(weight.new_zeros(shape) for _ in range(self.num_states)), [0] * batch_size)

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        return self.embed_tokens

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token: two for each weight of a matrix."""
        del length
        return 2.0 * sum(weight.numel() for weight in self.layers.parameters() if weight.dim() == 2)

    def config(self) -> dict[str, Any]:
        """Describe the backbone by Hugging Face's names where there are any; `transformers` has no such network."""
        return {
            "model_type": f"langmill_{self.name}",
            "vocab_size": self.vocab_size,
            "embedding_size": self.settings.embedding_dim,
            "hidden_size": self.dim,
            "num_hidden_layers": self.settings.num_layers,
            "max_position_embeddings": self.max_length,
            "tie_word_embeddings": self.settings.tie_embeddings,
        }
