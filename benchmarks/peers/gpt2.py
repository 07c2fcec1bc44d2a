"""GPT-2 of transformers, without dropout: what the Hugging Face Trainer trains here."""

from __future__ import annotations

from transformers import GPT2Config, GPT2LMHeadModel


def gpt2(vocab_size: int, block_length: int, dim: int, num_layers: int, num_heads: int) -> GPT2LMHeadModel:
    """Make it with random weights."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size, n_positions=block_length, n_embd=dim, n_layer=num_layers, n_head=num_heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
