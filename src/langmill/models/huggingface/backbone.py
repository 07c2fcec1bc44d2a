"""The base class of networks of `transformers`.

The base that training starts from defines the network: a checkpoint as its authors published it, or a model that was
fine-tuned from one. Weights keep Hugging Face's names in the file, so a fine-tuned model's folder opens in
`transformers` too. Training updates every weight, or an adapter that is stored by itself and merged into the weights
for serving.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from langmill.errors import ModelError
from langmill.files import read_manifest
from langmill.models.base import Backbone, Cache, Kind
from langmill.models.folder import CONFIG_NAME, TOKENIZER_NAME, Adapter
from langmill.models.huggingface.adapters import merge_adapter, prepare
from langmill.models.huggingface.loading import (
    load_network,
    make_network,
    quiet,
    read_description,
    refuse_unknown,
    refuse_vocabulary,
    required,
)
from langmill.models.huggingface.settings import PretrainedSettings
from langmill.models.huggingface.special_tokens import SpecialTokenTemplate


class Pretrained(Backbone):
    """A model of `transformers` with its own head.

    Attributes:
        whole: The model with its head, an object of `transformers`.
        body: The part below the head; of an encoder-decoder both stacks.
    """

    options_class = PretrainedSettings
    settings: PretrainedSettings
    needs_base = True
    free_options: ClassVar[frozenset[str]] = frozenset({"kind", "tuning", "lora", "config", "implementation"})
    libraries = ("peft", "transformers")
    auto_class: ClassVar[str]
    """The class of `transformers` that makes a network of this family with its head."""
    learns_head: ClassVar[bool] = False
    """Whether the head is task-specific: a checkpoint may lack it, and it is trained beside an adapter."""
    new_weights: frozenset[str] = frozenset()
    """Weights of the body that the base lacks, by Hugging Face's names: a task learns them as it does a new head."""
    num_stacks: ClassVar[int] = 1
    """Stacks of layers in `body`; a token passes through one of them."""

    def __init__(
        self,
        settings: PretrainedSettings,
        vocab_size: int,
        max_length: int,
        config: Any,
        template: SpecialTokenTemplate,
    ) -> None:
        """Make the network that a config of `transformers` describes, with random weights.

        Raises:
            ConfigError: The network is of another kind.
            ModelError: The network has fewer positions than `max_length`, or fewer entries than the tokenizer.
        """
        nn.Module.__init__(self)
        self.settings = settings
        self.dim = int(config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.max_length = max_length
        self.template = template
        self.config_hf = config
        refuse_vocabulary(vocab_size, self.vocab_size)
        self.refuse_length(max_length + len(self.template))
        self._make()
        head = self.whole.get_output_embeddings()
        self.tie_embeddings = head is not None and head.weight is self.embedding.weight
        self.language_model = type(self.whole).__name__

    @classmethod
    def build(cls, settings: PretrainedSettings, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """Make the network that a source describes, with random weights; see `Backbone.build`."""
        source = required(source)
        with quiet():
            config = read_description(source)
            known = (name for name in settings.config if hasattr(config, name))
            refuse_unknown(settings.config, known, config.model_type)
            config.update(settings.config)
            # An encoder-decoder's task ends every source itself.
            end = config.eos_token_id if cls.kind is Kind.encoder_decoder else None
            template = SpecialTokenTemplate.read(source / TOKENIZER_NAME, end)
            if cls.kind is Kind.causal:  # a text may be continued
                template = SpecialTokenTemplate((), ())
            return cls(settings, vocab_size, max_length, config, template)

    def _make(self) -> None:
        """Make the network that `config_hf` describes, with random weights."""
        # Not registered as a module, or every weight would be listed twice: here, and in `body` or a head.
        self._whole: tuple[Any] = (make_network(self.auto_class, self.kind, self.config_hf),)
        self.body: nn.Module = self._find_body()

    def _find_body(self) -> nn.Module:
        body: nn.Module = self.whole.base_model
        if body is self.whole:
            raise ModelError(
                f"{type(self.whole).__name__} does not separate its head from the rest; it can't be fine-tuned here.",
                code="unsupported",
            )
        return body

    @property
    def whole(self) -> Any:
        """The model with its head, an object of `transformers`."""
        return self._whole[0]

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode."""
        self.whole.training = mode  # the parts are set by way of `body` and of the head
        super().train(mode)
        return self

    def start_from(self, base: Path) -> None:
        """Load the weights of a checkpoint or of a fine-tuned model, where a classifier's last layers may be missing.

        Raises:
            ModelError: Weights are missing or of another shape, or Langmill's way to run the model gives other logits
                than its own.
            IntegrityError: The folder is damaged.
        """
        read_manifest(base, verify=True)
        loaded, complaint = load_network(
            self.auto_class, base, self.config_hf, new_head=self.learns_head, new_weights=self.new_weights
        )
        if complaint:
            raise ModelError(
                f"The weights in {base} do not fit the model that its {CONFIG_NAME} describes: {complaint}.",
                code="mismatch",
            )
        self.whole.load_state_dict(loaded.state_dict())
        self._check(base)

    def prepare_for_training(self, network: nn.Module) -> None:
        """Freeze the base's weights, and add an adapter, as `tuning` says; see `Backbone.prepare_for_training`."""
        prepare(network, self.body, self._base_weights(), self.settings)

    def merge_adapter(self, network: nn.Module) -> Adapter | None:
        """Merge the adapter; see `Backbone.merge_adapter`. None where there is none."""
        return merge_adapter(network, self.whole, self.body, self._base_weights(), self.settings.lora)

    def _base_weights(self) -> list[nn.Parameter]:
        """The weights that come with the base: all, or those below a head that a task learns."""
        part = self.body if self.learns_head else self.whole
        new = {id(parameter) for name, parameter in self.whole.named_parameters() if name in self.new_weights}
        return [each for name, each in part.named_parameters() if "lora_" not in name and id(each) not in new]

    def stored_names(self, network: nn.Module) -> dict[str, str]:
        """Hugging Face's name of each weight; of a tied one, its first."""
        theirs: dict[int, str] = {}
        for name, tensor in self.whole.state_dict(keep_vars=True).items():
            theirs.setdefault(id(tensor), name)
        mine = network.state_dict(keep_vars=True)
        return {name: theirs.get(id(tensor), name) for name, tensor in mine.items()}  # a head of ours has our name

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Compute the hidden states `(batch, length, dim)`; see `Backbone.forward`.

        Raises ModelError where a sequence is too long, or there is a cache.
        """
        if cache is not None:
            raise ModelError("The network reads a whole text at once, so it takes no cache.", code="unsupported")
        self.refuse_length(tokens_BT.shape[1])
        wrapped_BT, mask_BT = self.template.wrap(tokens_BT, lengths_B)
        return hidden_states(self.body, input_ids=wrapped_BT, attention_mask=mask_BT, use_cache=False)

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        found = self.whole.get_input_embeddings()
        assert isinstance(found, nn.Embedding)
        return found

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token in a sequence of `length`.

        Two for each weight of a matrix that is no embedding, and 4 D for each position attended to in each layer.
        """
        tables = {id(module.weight) for module in self.body.modules() if isinstance(module, nn.Embedding)}
        matrices = sum(
            weight.numel() for weight in self.body.parameters() if weight.dim() == 2 and id(weight) not in tables
        )
        return 2.0 * matrices / self.num_stacks + 4.0 * int(self.config_hf.num_hidden_layers) * self.dim * length

    def config(self) -> dict[str, Any]:
        """Describe the network as its own config in `transformers` does."""
        described: dict[str, Any] = self.config_hf.to_dict()
        described = {name: value for name, value in described.items() if name not in ("_name_or_path", "torch_dtype")}
        return {**described, "architectures": [self.language_model], "num_labels": self.config_hf.num_labels}

    @property
    def special_token_template(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of `[CLS]` and `[SEP]`, for example."""
        return self.template.prefix, self.template.suffix

    @torch.no_grad()
    def attention(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the attention weights of all layers; see `Attends.attention`."""
        wrapped_BT, mask_BT = self.template.wrap(tokens_BT, lengths_B)
        with self._eager_attention():
            found = self._encoder()(
                input_ids=wrapped_BT, attention_mask=mask_BT, output_attentions=True, return_dict=True
            )
        return torch.stack(found.attentions).float()

    def _encoder(self) -> Any:
        """The module that encodes a whole text."""
        return self.body

    @contextlib.contextmanager
    def _eager_attention(self) -> Iterator[None]:
        """Let the network return its attention weights, which is slower."""
        usual = self.config_hf._attn_implementation
        self.whole.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.whole.set_attn_implementation(usual)

    def refuse_length(self, length: int) -> None:
        """Refuse more tokens, special ones included, than the network has positions. Raises ModelError."""
        config = self.config_hf
        longest = getattr(config, "max_position_embeddings", None)  # None where it uses distances alone
        # RoBERTa's family counts positions from the padding token's id on.
        offset = config.pad_token_id + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
        if longest is not None and length > longest - offset:
            raise ModelError(
                f"A sequence of {length} tokens is longer than the pretrained model's {longest - offset} positions; "
                "lower training.block_length (and task.options.answer_length), or shorten the text.",
                code="impossible",
            )

    def _check(self, base: Path) -> None:
        """Check that our way to run the model gives its own logits; here it runs in its own way."""


def hidden_states(part: Any, **inputs: Any) -> Tensor:
    """Run a part of a network; return its hidden states `(batch, length, dim)`."""
    return cast("Tensor", part(**inputs, return_dict=True).last_hidden_state)
