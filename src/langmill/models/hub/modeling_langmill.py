"""Langmill's classifier for `transformers`: the mean of the backbone's hidden states and one linear layer.

    AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)

Hugging Face's own classifiers over these backbones pool otherwise, so they must not open the weights.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    EuroBertConfig,
    EuroBertModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput


class LangmillLlamaConfig(LlamaConfig):  # type: ignore[misc]
    """The settings of a classifier on a causal backbone."""

    model_type = "langmill_llama_classifier"


class LangmillEuroBertConfig(EuroBertConfig):  # type: ignore[misc]
    """The settings of a classifier on a bidirectional backbone."""

    model_type = "langmill_eurobert_classifier"


class LangmillConfig(PreTrainedConfig):  # type: ignore[misc]
    """The settings of a classifier on any other backbone of the library, whose own entries they hold."""

    model_type = "langmill_classifier"

    def __init__(self, backbone_type: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone_type = backbone_type


class _Classifier(PreTrainedModel):  # type: ignore[misc]
    """Tell the label of a text from the mean of its hidden states."""

    base_model_prefix = "model"
    backbone_class: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self._add(config)
        self.post_init()

    def _add(self, config: Any) -> None:
        self.model = self.backbone_class(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels, bias=False)

    def _backbone(self) -> Any:
        return self.model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        """Logits `(batch, labels)`; texts are padded at their end."""
        del kwargs
        hidden_BTD = self._backbone()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if attention_mask is None:
            pooled_BD = hidden_BTD.mean(dim=1)
        else:
            real_BT1 = attention_mask[:, :, None].to(hidden_BTD.dtype)
            pooled_BD = (hidden_BTD * real_BT1).sum(dim=1) / real_BT1.sum(dim=1)
        logits_BK = self.classifier(pooled_BD)
        loss = None if labels is None else nn.functional.cross_entropy(logits_BK, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits_BK)


class LangmillLlamaForSequenceClassification(_Classifier):
    """A classifier on a causal backbone."""

    config_class = LangmillLlamaConfig
    backbone_class = LlamaModel


class LangmillEuroBertForSequenceClassification(_Classifier):
    """A classifier on a bidirectional backbone."""

    config_class = LangmillEuroBertConfig
    backbone_class = EuroBertModel


class LangmillForSequenceClassification(_Classifier):
    """A classifier on any other backbone of the library, under the name that its weights have there."""

    config_class = LangmillConfig

    def _add(self, config: Any) -> None:
        described = {name: value for name, value in config.to_dict().items() if name not in _NOT_THE_BACKBONES}
        backbone = AutoModel.from_config(AutoConfig.for_model(config.backbone_type, **described))
        self.base_model_prefix = backbone.base_model_prefix
        setattr(self, self.base_model_prefix, backbone)
        self.classifier = nn.Linear(backbone.config.hidden_size, config.num_labels, bias=False)

    def _backbone(self) -> Any:
        return getattr(self, self.base_model_prefix)


_NOT_THE_BACKBONES = ("architectures", "auto_map", "backbone_type", "model_type")
