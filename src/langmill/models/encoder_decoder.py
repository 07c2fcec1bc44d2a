"""An encoder-decoder Transformer in the shape of T5 1.1; its blocks are those of `langmill.models.layers.t5`.

Source and target share one embedding. Shape suffixes: see `langmill.models.base`; S stands for source tokens, or for
the positions attended to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from langmill.models.base import (
    ARCHITECTURES,
    EMBEDDING_STD,
    Cache,
    EncoderDecoder,
    head_std,
    own_cache,
    refuse_length,
)
from langmill.models.folder import load_state, load_weights
from langmill.models.layers.attention import recorded_weights
from langmill.models.layers.cache import EncoderDecoderCache, KeyValueCache
from langmill.models.layers.t5 import EncoderDecoderSettings, Stack


@ARCHITECTURES.register("encoder_decoder")
class T5Shaped(EncoderDecoder):
    """A bidirectional encoder of the source, and a causal decoder of the target that attends to it.

    A source or a target longer than `max_length` is refused.
    """

    options_class = EncoderDecoderSettings
    settings: EncoderDecoderSettings
    joins = True
    language_model = "T5ForConditionalGeneration"
    stored_copies: ClassVar[Mapping[str, str]] = {"lm_head.weight": "shared.weight"}  # T5 scales what a tied head reads

    def __init__(self, settings: EncoderDecoderSettings, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self.shared = nn.Embedding(vocab_size, settings.dim)
        self.encoder = Stack(settings, decodes=False)
        self.decoder = Stack(settings, decodes=True)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Initialise all weights.

        Matrices whose output is added to the residual stream are zero, so that each layer begins as the identity
        (decision 0204); other matrices are normal with a variance of one over their inputs, query matrices with E times
        less, since scores are not divided by sqrt(E); the biases of distances are zero.
        """
        settings = self.settings
        self.shared.weight.normal_(0.0, head_std(settings.dim) if self.tie_embeddings else EMBEDDING_STD)
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                weight.fill_(1.0)
            elif name.endswith((".o.weight", ".wo.weight", "relative_attention_bias.weight")):
                weight.zero_()
            elif name.endswith(".q.weight"):
                weight.normal_(0.0, 1.0 / math.sqrt(settings.dim * settings.head_dim))
            elif name != "shared.weight":
                weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))

    def encode(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the memory; see `EncoderDecoder.encode`."""
        refuse_length(source_BS.shape[1], self.max_length)
        bias_BHSS = self.encoder.bias(source_BS.shape[1], source_BS.device)
        mask_B11S = _padding_mask(source_BS.shape[1], lengths_B)
        if mask_B11S is not None:
            bias_BHSS = bias_BHSS.masked_fill(~mask_B11S, -torch.inf)
        x_BSD: Tensor = self.encoder.dropout(self.shared(source_BS))
        for block in self.encoder.blocks:
            x_BSD = block.feed_forward(block.own(x_BSD, bias_BHSS))
        return cast("Tensor", self.encoder.dropout(self.encoder.final_layer_norm(x_BSD)))

    def decode(self, tokens_BT: Tensor, memory_BSD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the hidden states of whole targets; see `EncoderDecoder.decode`."""
        refuse_length(tokens_BT.shape[1], self.max_length)
        mask_B11S = _padding_mask(memory_BSD.shape[1], lengths_B)
        sources = [(*pair, mask_B11S) for pair in self._source_keys_and_values(memory_BSD)]
        return self._run_decoder(tokens_BT, sources)

    def begin(self, memory_BSD: Tensor, lengths_B: Tensor | None, capacity: int) -> EncoderDecoderCache:
        """Make a cache that holds the memory; see `EncoderDecoder.begin`."""
        batch_size, source_length, _ = memory_BSD.shape
        pairs = self._source_keys_and_values(memory_BSD)
        settings = self.settings
        capacity = min(capacity, self.max_length)
        shape = (settings.num_decoder_layers, batch_size, settings.num_heads, capacity, settings.head_dim)
        mask_B11S = _padding_mask(source_length, lengths_B)
        if mask_B11S is None:
            mask_B11S = torch.ones(batch_size, 1, 1, source_length, dtype=torch.bool, device=memory_BSD.device)
        return EncoderDecoderCache(
            memory_BSD.new_zeros(shape),
            memory_BSD.new_zeros(shape),
            [0] * batch_size,
            (torch.stack([keys for keys, _ in pairs]), torch.stack([values for _, values in pairs])),
            mask_B11S,
        )

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states of target tokens after those in the cache; see `Backbone.forward`.

        Raises ModelError where there is no cache, it is not this network's, or its capacity is exceeded.
        """
        batch_size, num_tokens = tokens_BT.shape
        cache = own_cache(cache, EncoderDecoderCache, batch_size)
        refuse_length(cache.length + num_tokens, cache.capacity)
        assert lengths_B is None  # every target grows by as many tokens
        keys_LBHSE, values_LBHSE, mask_B11S = cache.sources
        sources = [(keys, values, mask_B11S) for keys, values in zip(keys_LBHSE, values_LBHSE, strict=True)]
        hidden_BTD = self._run_decoder(tokens_BT, sources, cache)
        cache.advance(num_tokens, lengths_B)
        return hidden_BTD

    def _run_decoder(
        self,
        tokens_BT: Tensor,
        sources: Sequence[tuple[Tensor, Tensor, Tensor | None]],
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Run the decoder's stack over some tokens, after those in a cache."""
        num_tokens, device = tokens_BT.shape[1], tokens_BT.device
        places_BT = None
        if cache is None or min(cache.lengths) == cache.length:
            bias_BHTS = self.decoder.bias(num_tokens, device, 0 if cache is None else cache.length)
        else:
            places_BT = torch.tensor(cache.lengths, device=device)[:, None] + torch.arange(num_tokens, device=device)
            bias_BHTS = self.decoder.bias_at(places_BT, cache.length + num_tokens)
        x_BTD: Tensor = self.decoder.dropout(self.shared(tokens_BT))
        for number, (block, source) in enumerate(zip(self.decoder.blocks, sources, strict=True)):
            x_BTD = block.own(x_BTD, bias_BHTS, cache, number, places_BT)
            x_BTD = block.feed_forward(block.cross(x_BTD, *source))
        x_BTD = self.decoder.dropout(self.decoder.final_layer_norm(x_BTD))
        return x_BTD

    @torch.no_grad()
    def attention(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the encoder's attention weights, `(layers, batch, heads, S, S)`; see `Attends.attention`."""
        modules = [block.own.SelfAttention for block in self.encoder.blocks]
        return recorded_weights(modules, lambda: self.encode(source_BS, lengths_B))

    @torch.no_grad()
    def cross_attention(self, source_BS: Tensor, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the cross-attention weights; see `AttendsToSource.cross_attention`."""
        modules = [block.cross.EncDecAttention for block in self.decoder.blocks]
        memory_BSD = self.encode(source_BS, lengths_B)
        return recorded_weights(modules, lambda: self.decode(tokens_BT, memory_BSD, lengths_B))

    def _source_keys_and_values(self, memory_BSD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the source for each block of the decoder."""
        return [block.cross.EncDecAttention.keys_and_values(memory_BSD) for block in self.decoder.blocks]

    @property
    def embedding(self) -> nn.Embedding:
        """The embedding shared by source and target."""
        return self.shared

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token in a sequence of `length`.

        The mean of a source and a target token.
        """
        matrices = sum(
            weight.numel()
            for stack in (self.encoder, self.decoder)
            for name, weight in stack.named_parameters()
            if weight.dim() == 2 and "relative_attention_bias" not in name
        )
        settings = self.settings
        attended = settings.num_layers + 2 * settings.num_decoder_layers
        return matrices + 2.0 * attended * self.dim * length

    def stored_names(self, network: nn.Module) -> dict[str, str]:
        """T5's names, where both stacks and the head are siblings."""
        return {name: name.removeprefix("model.") for name in network.state_dict()}

    def start_from(self, base: Path) -> None:
        """Load the weights of another model's backbone; see `Backbone.start_from`."""
        state = {name.removeprefix("model."): tensor for name, tensor in load_state(base).items()}
        state.pop("lm_head.weight", None)
        load_weights(self, state, str(base))

    def config(self) -> dict[str, Any]:
        """Describe the backbone as `transformers.T5Config` does."""
        settings = self.settings
        return {
            "model_type": "t5",
            "is_encoder_decoder": True,
            "vocab_size": self.vocab_size,
            "d_model": settings.dim,
            "d_kv": settings.head_dim,
            "d_ff": settings.hidden_dim,
            "num_layers": settings.num_layers,
            "num_decoder_layers": settings.num_decoder_layers,
            "num_heads": settings.num_heads,
            "relative_attention_num_buckets": settings.num_buckets,
            "relative_attention_max_distance": settings.max_distance,
            "layer_norm_epsilon": settings.norm_eps,
            "feed_forward_proj": "gated-gelu",
            "dropout_rate": settings.dropout,
            "tie_word_embeddings": False,  # in transformers: hidden states are not scaled before the head
        }


def _padding_mask(length: int, lengths_B: Tensor | None) -> Tensor | None:
    """Make a mask `(batch, 1, 1, length)`, true at real tokens; None where nothing is padded."""
    if lengths_B is None:
        return None
    return (torch.arange(length, device=lengths_B.device) < lengths_B[:, None])[:, None, None]
