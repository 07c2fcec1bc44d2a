"""Heads on a backbone: language model, text-to-text model, classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.errors import ModelError
from langmill.models.base import Backbone, Cache, EncoderDecoder, head_std, refuse_length
from langmill.models.functions import head_cross_entropy, product_of_few
from langmill.models.layers.columns import Columns


class TokenHead(nn.Module):
    """A backbone with a head from hidden states to the logits of a token.

    The head is the backbone's own where it has one, else the token embedding (Press & Wolf, 2017) or a linear layer, as
    the backbone's `tie_embeddings` says.
    """

    fuse_loss = False
    """Whether a part of the loss is compiled; training sets it."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model = backbone
        self.lm_head = backbone.language_model_head()
        if self.lm_head is None and not backbone.tie_embeddings:
            self.lm_head = nn.Linear(backbone.dim, backbone.vocab_size, bias=False)
            nn.init.normal_(self.lm_head.weight, std=head_std(backbone.dim))
        self._columns = Columns()

    @property
    def tied(self) -> bool:
        """Whether the head is the token embedding and nothing else."""
        return self.lm_head is None

    @property
    def max_length(self) -> int:
        """Context length in tokens; of an encoder-decoder, that of a source and of a target."""
        return self.model.max_length

    @property
    def joins(self) -> bool:
        """Whether texts of several requests are decoded together; see `Backbone.joins`."""
        return self.model.joins

    @property
    def head_weight_VD(self) -> Tensor:
        """The head's weights, `(vocabulary, dim)`."""
        weight = (self.model.embedding if self.lm_head is None else self.lm_head).weight
        assert isinstance(weight, Tensor)
        return weight

    def head(self, hidden_BTD: Tensor) -> Tensor:
        """Compute the logits `(batch, length, vocabulary)` of hidden states."""
        if self.lm_head is None:
            return F.linear(hidden_BTD, self.head_weight_VD)
        return cast("Tensor", self.lm_head(hidden_BTD))

    def cross_entropy(self, hidden_BTD: Tensor, targets_BT: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Compute the mean cross entropy in nats over the targets that are not negative, a scalar; 0 where all are.

        `label_smoothing` as in `langmill.models.functions.head_cross_entropy`.
        """
        hidden_ND, targets_N = hidden_BTD.flatten(0, 1), targets_BT.flatten()
        if getattr(self.lm_head, "bias", None) is None:
            return head_cross_entropy(hidden_ND, self.head_weight_VD, targets_N, label_smoothing, fused=self.fuse_loss)
        counted_N = targets_N >= 0
        logits_NV = self.head(hidden_ND[counted_N]).float()
        nats = F.cross_entropy(logits_NV, targets_N[counted_N], reduction="sum", label_smoothing=label_smoothing)
        return nats / counted_N.sum().clamp(min=1)

    @torch.inference_mode()
    def read(self, new_ids: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Read new tokens; return the next-token logits (see `langmill.models.generation.network.Decodes`)."""
        lengths = [len(ids) for ids in new_ids]
        longest, device = max(lengths), self.head_weight_VD.device
        tokens_BT = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in new_ids], device=device)
        if min(lengths) == longest:
            return self._next_logits(self.model(tokens_BT, None, cache)[:, -1])
        lengths_B = torch.tensor(lengths, device=device)
        hidden_BTD = self.model(tokens_BT, lengths_B, cache)
        return self._next_logits(hidden_BTD[torch.arange(len(lengths), device=device), lengths_B - 1])

    def _next_logits(self, hidden_BD: Tensor) -> Tensor:
        if not self.tied:
            return self.head(hidden_BD)
        head_DV = self._columns.weight_IO if len(hidden_BD) == 1 else None
        return product_of_few(hidden_BD, self.head_weight_VD) if head_DV is None else hidden_BD @ head_DV

    def _prepare_head(self) -> None:
        """Prepare the head for the tokens of a prompt, and of the text after it."""
        self._columns.follow(self.head_weight_VD if self.tied else None)

    def stored_names(self) -> dict[str, str]:
        """Names in the weights file, by name in the network."""
        return self.model.stored_names(self)

    def stored_copies(self) -> dict[str, str]:
        """Additional names in the weights file for weights that it already holds."""
        return dict(self.model.stored_copies) if self.tied else {}

    def config(self) -> dict[str, Any]:
        """Describe the network for `config.json`."""
        return {**self.model.config(), "architectures": [self.model.language_model]}

    def _refuse_prompts(self, prompts: Sequence[Sequence[int]]) -> None:
        if self.training:
            raise ModelError(
                "The network is in training mode, in which dropout would change its answers; call eval() first.",
                code="impossible",
            )
        if min(map(len, prompts)) == 0:
            raise ModelError("A prompt is empty; begin a new text with the end-of-text token.", code="impossible")
        refuse_length(max(map(len, prompts)), self.max_length)


class LanguageModel(TokenHead):
    """A backbone that predicts the next token."""

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the next-token logits `(batch, length, vocabulary)`; see `Backbone.forward`."""
        return self.head(self.model(tokens_BT, lengths_B, cache))

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Compute the mean cross entropy in nats, a scalar; negative targets are ignored."""
        return self.cross_entropy(self.model(tokens_BT), targets_BT)

    def begin(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[Cache, list[list[int]]]:
        """Make an empty cache with room for prompts and new tokens; return it with the tokens to read first."""
        self._refuse_prompts(prompts)
        self._prepare_head()
        capacity = min(self.max_length, max(map(len, prompts)) + max_new_tokens)
        return self.model.new_cache(len(prompts), capacity), [list(ids) for ids in prompts]

    @torch.inference_mode()
    def prompt_logits(self, prompts: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Compute the logits after each token of some prompts (see `PredictsPrompt`)."""
        self._refuse_prompts(prompts)
        longest, device = max(map(len, prompts)), self.head_weight_VD.device
        tokens_BT = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in prompts], device=device)
        hidden_BTD = self.model(tokens_BT, torch.tensor([len(ids) for ids in prompts], device=device))
        for ids, hidden_TD in zip(prompts, hidden_BTD, strict=True):  # one at a time: a vocabulary is wide
            yield self.head(hidden_TD[: len(ids)])

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of a forward pass for one token in a sequence of `length`."""
        return self.model.flops_per_token(length) + 2.0 * self.model.dim * self.model.vocab_size

    def config(self) -> dict[str, Any]:
        """Describe the network for `config.json`."""
        return {**super().config(), "tie_word_embeddings": self.tied}


class TextToText(TokenHead):
    """An encoder-decoder that generates a target text for a source text."""

    model: EncoderDecoder

    def forward(self, source_BS: Tensor, lengths_B: Tensor | None, tokens_BT: Tensor) -> Tensor:
        """Compute the next-token logits `(batch, length, vocabulary)` of the target, whose tokens are `tokens_BT`."""
        return self.head(self.model.decode(tokens_BT, self.model.encode(source_BS, lengths_B), lengths_B))

    def hidden(self, source_BS: Tensor, lengths_B: Tensor, targets_BT: Tensor) -> Tensor:
        """Compute the hidden states `(batch, length, dim)` from which `head` predicts the targets.

        Sources and targets end with their end-of-text token; targets are negative at padding. The decoder reads the
        start token, then each target but the last.
        """
        if self.model.start_id is None:
            start_B1 = source_BS.gather(1, lengths_B[:, None] - 1)
        else:
            start_B1 = torch.full_like(targets_BT[:, :1], self.model.start_id)
        tokens_BT = torch.cat([start_B1, targets_BT[:, :-1].clamp(min=0)], dim=1)
        return self.model.decode(tokens_BT, self.model.encode(source_BS, lengths_B), lengths_B)

    def loss(self, source_BS: Tensor, lengths_B: Tensor, targets_BT: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Compute the mean cross entropy in nats over the targets that are not negative; arguments as in `hidden`."""
        hidden_BTD = self.hidden(source_BS, lengths_B, targets_BT)
        return self.cross_entropy(hidden_BTD, targets_BT, label_smoothing)

    @torch.inference_mode()
    def begin(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> tuple[Cache, list[list[int]]]:
        """Encode source texts, each with its end-of-text token; return their cache and the decoder's first tokens."""
        self._refuse_prompts(prompts)
        self._prepare_head()
        lengths = [len(ids) for ids in prompts]
        device = self.head_weight_VD.device
        source_BS = torch.tensor([[*ids, *[0] * (max(lengths) - len(ids))] for ids in prompts], device=device)
        lengths_B = torch.tensor(lengths, device=device) if min(lengths) < max(lengths) else None
        cache = self.model.begin(self.model.encode(source_BS, lengths_B), lengths_B, max_new_tokens + 1)
        start = self.model.start_id
        return cache, [[ids[-1] if start is None else start] for ids in prompts]

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of a forward pass for one token in a sequence of `length`, source or target."""
        return self.model.flops_per_token(length) + self.model.dim * self.model.vocab_size


class Classifier(nn.Module):
    """A backbone that predicts the label of a sequence: from the mean of its hidden states, or with its own head.

    `dropout` is that of the mean, in training; a head of the backbone's own has its own.
    """

    def __init__(self, backbone: Backbone, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.model = backbone
        self.num_labels = num_labels
        self.head = backbone.classification_head(num_labels)
        if self.head is None:
            self.dropout = nn.Dropout(dropout)
            self.score = nn.Linear(backbone.dim, num_labels, bias=False)
            nn.init.normal_(self.score.weight, std=head_std(backbone.dim))

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the logits `(batch, labels)`; arguments as in `Backbone.forward`."""
        if self.head is not None:
            return cast("Tensor", self.head(tokens_BT, lengths_B))
        hidden_BTD = self.model(tokens_BT, lengths_B)
        if lengths_B is None:
            pooled_BD = hidden_BTD.mean(dim=1)
        else:
            padded_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device) >= lengths_B[:, None]
            pooled_BD = hidden_BTD.masked_fill(padded_BT[:, :, None], 0.0).sum(dim=1) / lengths_B[:, None]
        return cast("Tensor", self.score(self.dropout(pooled_BD)))

    def flops_per_token(self, length: int) -> float:
        """Floating-point operations of a forward pass for one token in a sequence of `length`, the head excluded."""
        return self.model.flops_per_token(length)

    def stored_names(self) -> dict[str, str]:
        """Names in the weights file; our own head has a name that Hugging Face's classes lack."""
        names = self.model.stored_names(self)
        return names if self.head is not None else {**names, "score.weight": "classifier.weight"}

    def stored_copies(self) -> dict[str, str]:
        """Additional names in the weights file: none."""
        return {}

    def config(self) -> dict[str, Any]:
        """Describe the network for `config.json`.

        Unless the backbone has its own head, type and class are ours: Hugging Face's classifiers take one token of a
        text instead of the mean, so they would load the same weights and predict differently, and Auto classes go by
        the type alone. `langmill.models.hub` has the class, which is copied into the model folder. A backbone that
        `transformers` has no class for has a type that it does not know.
        """
        config = self.model.config()
        if self.head is not None:
            return config
        kind = config.get("model_type", "")
        name = f"Langmill{HUB_BACKBONES.get(kind, '')}"
        own: dict[str, Any] = {"architectures": [f"{name}ForSequenceClassification"], "num_labels": self.num_labels}
        if self.model.language_model != Backbone.language_model:  # one of Hugging Face's
            own |= {"model_type": f"langmill_{kind}_classifier"} if kind in HUB_BACKBONES else _any_type(kind)
            own["auto_map"] = {
                "AutoConfig": f"modeling_langmill.{name}Config",
                "AutoModelForSequenceClassification": f"modeling_langmill.{name}ForSequenceClassification",
            }
        return {**config, **own}


HUB_BACKBONES = {"llama": "Llama", "eurobert": "EuroBert"}
"""Backbones that `langmill.models.hub` has a classifier of their own for: by model type, the part of the class name."""
_PLAIN_TYPES = {f"langmill_{kind}_classifier": kind for kind in HUB_BACKBONES}
_ANY_TYPE, BACKBONE_TYPE = "langmill_classifier", "backbone_type"


def _any_type(kind: str) -> dict[str, str]:
    """The entries of a classifier's `config.json` that say what any other backbone is."""
    return {"model_type": _ANY_TYPE, BACKBONE_TYPE: kind}


def plain_type(config: Mapping[str, Any]) -> str | None:
    """The backbone's own model type, from the `config.json` of a classifier of ours; None for any other network."""
    found = config.get("model_type", "")
    return str(config[BACKBONE_TYPE]) if found == _ANY_TYPE else _PLAIN_TYPES.get(found)
