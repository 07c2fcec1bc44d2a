"""A bag of n-grams weighed by naive Bayes (Wang & Manning, 2012): which n-grams a text has, not how often.

    h = sum over the distinct n-grams g of a text of r(g) e(g),   r(g) = max over labels k of |log-count ratio of g, k|

An n-gram that the labels share alike has a ratio near 0 and is hardly memorised; one that parts them begins
with a large step. With two labels and a width of one this is Wang and Manning's model with a logistic loss in place of
the support vector machine's (their NBSVM; Mesnil et al., 2015, have n-grams to triples); e is a table as in
`langmill.models.bag_of_ngrams`, so that any number of labels is learned.
Shape suffixes: see `langmill.models.base`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langmill.models.bag_of_ngrams import BagOfNgrams, refuse_cache
from langmill.models.base import ARCHITECTURES, Cache


@ARCHITECTURES.register("naive_bayes_ngrams")
class NaiveBayesNgrams(BagOfNgrams):
    """Hidden states whose mean over a text is the sum of its distinct tokens' and n-grams' weighed embeddings.

    The weights are buffers: `observe_labels` computes them before the first step, and no step changes them.
    """

    token_ratios: Tensor
    ngram_ratios: Tensor

    def __init__(self, settings: Any, vocab_size: int, max_length: int) -> None:
        super().__init__(settings, vocab_size, max_length)
        self.register_buffer("token_ratios", torch.ones(vocab_size))
        self.register_buffer("ngram_ratios", torch.ones(settings.num_buckets if settings.max_ngram > 1 else 0))

    def observe_labels(self, texts: Sequence[np.ndarray], labels_N: np.ndarray) -> None:
        """Compute the weights from the training texts: tokens `(tokens,)` of each, and their labels `(N,)`.

        The log-count ratio of an n-gram and a label is that of its shares among the n-grams of the texts with the label
        and of those without, each counted once a text and one more (Wang & Manning, 2012, section 2.1).
        """
        total = self._counted(texts)
        strongest = np.zeros(len(total))
        for label in np.unique(labels_N):
            own = self._counted(texts[number] for number in np.flatnonzero(labels_N == label).tolist())
            with_label, without = own + 1.0, total - own + 1.0
            ratio = np.log(with_label / with_label.sum()) - np.log(without / without.sum())
            np.maximum(strongest, np.abs(ratio), out=strongest)
        weights = torch.from_numpy(strongest).to(self.token_ratios)
        self.token_ratios.copy_(weights[: self.vocab_size])
        self.ngram_ratios.copy_(weights[self.vocab_size :])

    def _counted(self, texts: Iterable[np.ndarray]) -> np.ndarray:
        """The texts that have each token and each row of n-grams, `(vocab_size + num_buckets,)`."""
        found = np.zeros(self.vocab_size + len(self.ngram_ratios), dtype=np.int64)
        for tokens_T in texts:
            found[tokens_T] += 1  # NumPy adds once to each place, however often it is named
            for buckets_N in self.buckets(np.asarray(tokens_T, dtype=np.int64)[None]):
                found[buckets_N[0] + self.vocab_size] += 1
        return found

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)`; see `Backbone.forward`.

        A state has the n-grams that the text has not had before, times the text's length, since a classifier takes the
        mean. Raises ModelError where a cache is given.
        """
        refuse_cache(cache)
        every_T = torch.ones(tokens_BT.shape[1], dtype=torch.bool, device=tokens_BT.device)
        hidden_BTD = self._weighed(self.embed_tokens, self.token_ratios, tokens_BT, every_T)
        if self.embed_ngrams is not None:
            for rows_BT, whole_T in self.rows_at_ends(tokens_BT):
                hidden_BTD = hidden_BTD + self._weighed(self.embed_ngrams, self.ngram_ratios, rows_BT, whole_T)
        if lengths_B is None:
            return hidden_BTD * tokens_BT.shape[1]
        return hidden_BTD * lengths_B[:, None, None]

    @staticmethod
    def _weighed(table: torch.nn.Embedding, ratios: Tensor, rows_BT: Tensor, whole_T: Tensor) -> Tensor:
        """The weighed embeddings of the rows that are whole n-grams and come for the first time in their text."""
        # Sorted by row and then by place, in one number: a traced graph takes no stable sort, nor two slices of a text
        # for equally long. Row 0 is none.
        ends_T = torch.arange(rows_BT.shape[1], device=rows_BT.device)
        counted_BT = torch.where(whole_T, rows_BT.long() + 1, 0)
        places_BT = (counted_BT * rows_BT.shape[1] + ends_T).argsort(dim=1)
        ordered_BT = counted_BT.gather(1, places_BT)
        new_BT = ((ordered_BT != ordered_BT.roll(1, dims=1)) | (ends_T == 0)) & (ordered_BT > 0)
        first_BT = torch.zeros_like(new_BT).scatter(1, places_BT, new_BT)
        embedded_BTD: Tensor = table(rows_BT)
        return embedded_BTD * (ratios[rows_BT] * first_BT)[:, :, None]

    def config(self) -> dict[str, Any]:
        """Describe the backbone by Hugging Face's names where there are any; `transformers` has no such network."""
        return {**super().config(), "model_type": "langmill_naive_bayes_ngrams"}
