"""Encoder-decoders of `transformers`.

Shape suffixes: see `langmill.models.base`; S stands for source tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from langmill.models.base import Cache, EncoderDecoder, Kind
from langmill.models.huggingface.backbone import hidden_states
from langmill.models.huggingface.cache import PastKeyValues
from langmill.models.huggingface.generation import PretrainedGenerator, probe_tokens
from langmill.models.huggingface.loading import AUTO_CLASSES


class PretrainedEncoderDecoder(PretrainedGenerator, EncoderDecoder):
    """An encoder-decoder with its own language model head."""

    kind = Kind.encoder_decoder
    auto_class = AUTO_CLASSES[Kind.encoder_decoder]
    num_stacks = 2

    def _find_body(self) -> nn.Module:
        return nn.ModuleDict({"encoder": self.whole.get_encoder(), "decoder": self.whole.get_decoder()})

    def _encoder(self) -> Any:
        return self.whole.get_encoder()

    @property
    def start_id(self) -> int | None:  # type: ignore[override]  # the checkpoint says it
        """The decoder's first input token."""
        found: int | None = getattr(self.config_hf, "decoder_start_token_id", None)
        return found

    def _forward_from_cache(self, tokens_BT: Tensor, filled_BT: Tensor, cache: PastKeyValues) -> Tensor:
        assert cache.memory is not None  # `begin` alone makes caches
        assert filled_BT.all()  # all targets grow together
        return self._decoded(tokens_BT, *cache.memory, past_key_values=cache.past, use_cache=True)

    def encode(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the memory, `(batch, source length, dim)`, special tokens included; see `EncoderDecoder.encode`."""
        wrapped_BS, mask_BS = self.template.wrap(source_BS, lengths_B)
        self.refuse_length(wrapped_BS.shape[1])
        return hidden_states(self.whole.get_encoder(), input_ids=wrapped_BS, attention_mask=mask_BS)

    def decode(self, tokens_BT: Tensor, memory_BSD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the hidden states of whole targets; see `EncoderDecoder.decode`."""
        self.refuse_length(tokens_BT.shape[1])
        mask_BS = self.template.mask(memory_BSD.shape[1] - len(self.template), lengths_B)
        return self._decoded(tokens_BT, memory_BSD, mask_BS, use_cache=False)

    def begin(self, memory_BSD: Tensor, lengths_B: Tensor | None, capacity: int) -> Cache:
        """Make a cache that holds the memory; see `EncoderDecoder.begin`."""
        del capacity
        from transformers import DynamicCache, EncoderDecoderCache

        mask_BS = self.template.mask(memory_BSD.shape[1] - len(self.template), lengths_B)
        if mask_BS is None:
            mask_BS = torch.ones(memory_BSD.shape[:2], dtype=torch.long, device=memory_BSD.device)
        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return PastKeyValues(past, len(memory_BSD), (memory_BSD, mask_BS), memory_BSD.device)

    def _decoded(self, tokens_BT: Tensor, memory_BSD: Tensor, mask_BS: Tensor | None, **cache: Any) -> Tensor:
        """Run the decoder; T5 v1.0 divides by sqrt(dim) before a tied head (Raffel et al., 2020; Mesh TensorFlow)."""
        hidden_BTD = hidden_states(
            self.whole.get_decoder(),
            input_ids=tokens_BT,
            encoder_hidden_states=memory_BSD,
            encoder_attention_mask=mask_BS,
            **cache,
        )
        return hidden_BTD * self.dim**-0.5 if getattr(self.config_hf, "scale_decoder_outputs", False) else hidden_BTD

    @torch.no_grad()
    def cross_attention(self, source_BS: Tensor, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the cross-attention weights; see `AttendsToSource.cross_attention`."""
        memory_BSD = self.encode(source_BS, lengths_B)
        with self._eager_attention():
            found = self.whole.get_decoder()(
                input_ids=tokens_BT,
                encoder_hidden_states=memory_BSD,
                encoder_attention_mask=self.template.mask(source_BS.shape[1], lengths_B),
                use_cache=False,
                output_attentions=True,
                return_dict=True,
            )
        return torch.stack(found.cross_attentions).float()

    def _logits_both_ways(self) -> list[tuple[Tensor, Tensor]]:
        head = self.language_model_head() or self.whole.get_output_embeddings()
        ids, tokens_BT, lengths_B = probe_tokens(self.vocab_size)
        pairs: list[tuple[Tensor, Tensor]] = []
        target_BT = torch.tensor([[self.start_id or 0, 3, 5], [self.start_id or 0, 7, 2]]) % self.vocab_size
        memory_BSD = self.encode(tokens_BT, lengths_B)
        together_BTV = head(self.decode(target_BT, memory_BSD, lengths_B))
        cache = self.begin(memory_BSD, lengths_B, target_BT.shape[1])
        steps = [head(self(target_BT[:, [step]], None, cache)) for step in range(target_BT.shape[1])]
        for row, source in enumerate(ids):
            wrapped, _ = self.template.wrap(source, None)
            own = self.whole(input_ids=wrapped, decoder_input_ids=target_BT[row : row + 1]).logits[0]
            pairs += [(own, together_BTV[row]), (own, torch.cat(steps, dim=1)[row])]
        return pairs
