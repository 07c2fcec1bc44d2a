"""Encoders of `transformers`, fine-tuned as classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Self, cast

from torch import Tensor, nn

from langmill.errors import ModelError
from langmill.models.base import Kind
from langmill.models.huggingface.backbone import Pretrained
from langmill.models.huggingface.heads import ClassificationHead
from langmill.models.huggingface.loading import AUTO_CLASSES, lacking_pooler, quiet, required
from langmill.models.huggingface.settings import PretrainedSettings


class PretrainedEncoder(Pretrained):
    """An encoder with its authors' classification head: from one token, or from the mean."""

    kind = Kind.bidirectional
    auto_class = AUTO_CLASSES[Kind.bidirectional]
    learns_head = True

    @classmethod
    def build(cls, settings: PretrainedSettings, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """Make the network that a source describes, with random weights; see `Backbone.build`.

        Raises ModelError where the source's weights can't be read.
        """
        made = super().build(settings, vocab_size, max_length, source)
        made.new_weights = lacking_pooler(made.whole, required(source))
        return made

    def language_model_head(self) -> nn.Module | None:
        """Refuse: it predicts no tokens here. Always raises ModelError."""
        message = "A pretrained encoder can be fine-tuned as a classifier only; pretrain one of your own."
        raise ModelError(message, code="unsupported")

    def classification_head(self, num_labels: int) -> nn.Module | None:
        """The checkpoint's own head, for which the network is made again with random weights."""
        self.config_hf.num_labels = num_labels
        with quiet():
            self._make()
        return ClassificationHead(self.whole, self.body, self._label_logits)

    def _label_logits(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        wrapped_BT, mask_BT = self.template.wrap(tokens_BT, lengths_B)
        self.refuse_length(wrapped_BT.shape[1])
        return cast("Tensor", self.whole(input_ids=wrapped_BT, attention_mask=mask_BT, return_dict=True).logits)
