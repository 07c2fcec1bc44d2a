"""A bag of n-grams (fastText: Joulin et al., 2017): what a text says, without the order of its sentences.

    h_t = e(w_t) + g(w_{t-1} w_t) + g(w_{t-2} w_{t-1} w_t) + ...

`langmill.models.heads.Classifier` takes the mean of h over a text, which is that of its tokens' and its n-grams'
embeddings up to a factor. A table of all n-grams would be too large: each has a row by its hash (Weinberger et al.,
2009), and some share one.
Shape suffixes: see `langmill.models.base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.typed import settings
from langmill.errors import ModelError
from langmill.models.base import ARCHITECTURES, EMBEDDING_STD, Backbone, Cache, Kind

_MULTIPLIER = 1_000_003
_MODULUS = 2**31 - 1  # a prime; a hash times the multiplier plus a token stays far below 2^63

Tokens = TypeVar("Tokens", Tensor, np.ndarray)


def refuse_cache(cache: Cache | None) -> None:
    """Refuse to go on with a text, with a ModelError."""
    if cache is not None:
        raise ModelError("A bag of n-grams reads a whole text at once, so it takes no cache.", code="unsupported")


@settings
class BagOfNgramsSettings:
    """Options of the architecture `bag_of_ngrams`."""

    dim: PositiveInt
    """Width of an embedding, and of a hidden state."""
    max_ngram: Annotated[int, Field(ge=1, le=8)]
    """Tokens of the longest n-grams; 1 is a bag of tokens."""
    num_buckets: PositiveInt
    """Rows of the table that all n-grams of two and more tokens share. The optimizer visits each in every step."""
    tie_embeddings: ClassVar[bool] = False


@ARCHITECTURES.register("bag_of_ngrams")
class BagOfNgrams(Backbone):
    """Hidden states that are sums of embeddings: the token's, and those of the n-grams that end with it.

    It is for classification. It has no context length: texts longer than `max_length` are read too.
    """

    options_class = BagOfNgramsSettings
    settings: BagOfNgramsSettings
    kind = Kind.bidirectional

    def __init__(self, settings: BagOfNgramsSettings, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self.embed_tokens = nn.Embedding(vocab_size, settings.dim)
        nn.init.normal_(self.embed_tokens.weight, std=EMBEDDING_STD)
        self.embed_ngrams: nn.Embedding | None = None
        if settings.max_ngram > 1:
            self.embed_ngrams = nn.Embedding(settings.num_buckets, settings.dim)
            nn.init.normal_(self.embed_ngrams.weight, std=EMBEDDING_STD)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)`; see `Backbone.forward`.

        `lengths_B` is not needed: padding is at the end, and an n-gram ends with its state's own token. Raises
        ModelError where a cache is given.
        """
        del lengths_B
        refuse_cache(cache)
        if torch.compiler.is_exporting():
            return self._of_any_length(tokens_BT)
        hidden_BTD: Tensor = self.embed_tokens(tokens_BT)
        if self.embed_ngrams is not None:
            for buckets_BN in self.buckets(tokens_BT):
                missing = tokens_BT.shape[1] - buckets_BN.shape[1]  # tokens at the start, with which none ends
                hidden_BTD = hidden_BTD + F.pad(self.embed_ngrams(buckets_BN), (0, 0, missing, 0))
        return hidden_BTD

    def _of_any_length(self, tokens_BT: Tensor) -> Tensor:
        """Compute the same in steps that a traced graph can take for texts of any length, also below `max_ngram`."""
        hidden_BTD: Tensor = self.embed_tokens(tokens_BT)
        if self.embed_ngrams is not None:
            for rows_BT, whole_T in self.rows_at_ends(tokens_BT):
                hidden_BTD = hidden_BTD + self.embed_ngrams(rows_BT).masked_fill(~whole_T[:, None], 0.0)
        return hidden_BTD

    def rows_at_ends(self, tokens_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For n = 2, 3, ...: the row of the n-gram that ends with each token `(batch, length)`, and where it is whole.

        Padded at the beginning, so that a traced graph takes texts of any length; `(length,)` says which rows are those
        of n tokens.
        """
        longest = self.settings.max_ngram
        ends_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        for n, buckets_BN in enumerate(self.buckets(F.pad(tokens_BT, (longest - 1, 0))), start=2):
            yield buckets_BN[:, longest - n :], ends_T >= n - 1

    def buckets(self, tokens_BT: Tokens) -> list[Tokens]:
        """Rows in the table of the n-grams of n = 2, 3, ... tokens: for each n, `(batch, length - n + 1)` int64.

        Of a tensor or of a NumPy array, either of integers; an array must be of int64.

        A polynomial of the tokens modulo a prime, modulo the rows: the same on every machine and device. The tokens are
        counted from 1, or a leading token 0 would make no difference.
        """
        counted_BT: Tokens = (tokens_BT.long() if isinstance(tokens_BT, Tensor) else tokens_BT) + 1
        hashes_BN = counted_BT
        found = []
        for n in range(2, self.settings.max_ngram + 1):
            hashes_BN = (hashes_BN[:, :-1] * _MULTIPLIER + counted_BT[:, n - 1 :]) % _MODULUS
            found.append(hashes_BN % self.settings.num_buckets)
        return found

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        return self.embed_tokens

    @property
    def token_states(self) -> nn.Module:
        """The network itself: an n-gram's embedding is part of the state of its last token and not of `embedding`."""
        return self

    def flops_per_token(self, length: int) -> float:
        """Additions of a forward pass for one token: its embedding's and its n-grams', to one sum."""
        del length
        return float(self.settings.max_ngram * self.dim)

    def config(self) -> dict[str, Any]:
        """Describe the backbone by Hugging Face's names where there are any; `transformers` has no such network."""
        return {
            "model_type": "langmill_bag_of_ngrams",
            "vocab_size": self.vocab_size,
            "hidden_size": self.dim,
            "max_ngram": self.settings.max_ngram,
            "num_buckets": self.settings.num_buckets,
            "max_position_embeddings": self.max_length,
            "tie_word_embeddings": False,
        }
