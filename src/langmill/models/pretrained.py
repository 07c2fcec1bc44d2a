"""Any causal, sequence-to-sequence or sequence-classification model of Hugging Face `transformers`.

What network it is says the base that training starts from: a checkpoint as its authors published it, or a model that
was fine-tuned from one. Weights keep Hugging Face's names in the file, so a fine-tuned model's folder opens in
`transformers` too. Training moves every weight, or a low-rank adapter (LoRA; Hu et al., 2022, equation 3) that is kept
apart and added into the weights for serving.

Shape suffixes: see `langmill.models.base`; S stands for source tokens, or for the places of a cache.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from langmill.config.sections import require
from langmill.errors import ConfigError, ModelError
from langmill.files import read_json, read_manifest
from langmill.models.base import ARCHITECTURES, Cache, EncoderDecoder, Kind
from langmill.models.folder import CONFIG_NAME, TOKENIZER_NAME, Adapter, read_config
from langmill.models.pretrained_cache import PastKeyValues

_AUTO_CLASSES = {
    Kind.causal: "AutoModelForCausalLM",
    Kind.bidirectional: "AutoModelForSequenceClassification",
    Kind.encoder_decoder: "AutoModelForSeq2SeqLM",
}
_PREFIX = "base_model.model."  # of every weight in an adapter's file
_PROBE = ((3, 5, 7, 11, 13), (17, 19))  # token ids that every vocabulary has, in two sequences of unequal length
_TOLERANCE = 1e-4


class Tuning(StrEnum):
    """What training moves."""

    full = "full"
    lora = "lora"


@dataclass
class LoraSettings:
    """Low-rank adaptation: to a frozen matrix W is added (alpha / rank) B A, of which A and B are learned."""

    rank: int
    """Rows of A and columns of B."""
    alpha: float
    """How much the product counts, before it is divided by the rank."""
    dropout: float
    """Share of the input of A that is dropped in training, 0 to below 1."""
    targets: list[str]
    """The layers that are adapted, by the end of their names (`query`, `c_attn`), or `all-linear` for every one of the
    body."""

    def __post_init__(self) -> None:
        require(self.rank >= 1, "model.options.lora.rank", self.rank, "1 or more")
        require(self.alpha > 0, "model.options.lora.alpha", self.alpha, "above 0")
        require(0 <= self.dropout < 1, "model.options.lora.dropout", self.dropout, "0 to below 1")
        require(bool(self.targets), "model.options.lora.targets", self.targets, "at least one layer's name")


@dataclass
class PretrainedSettings:
    """Options of the architecture `pretrained`; everything else is the checkpoint's own."""

    kind: Kind
    """`causal` (AutoModelForCausalLM), `bidirectional` (AutoModelForSequenceClassification) or `encoder_decoder`
    (AutoModelForSeq2SeqLM)."""
    tuning: Tuning
    """`full`: every weight is moved; `lora`: an adapter and a classifier's last layers."""
    lora: LoraSettings
    """How weights are adapted where `tuning` is `lora`."""
    config: dict[str, Any]
    """Entries of the checkpoint's config.json that are replaced, by their names there: a share of dropout, say."""


@ARCHITECTURES.register("pretrained")
class Pretrained(EncoderDecoder):
    """A model of `transformers`, between token ids and hidden states, with its own head on top.

    Attributes:
        whole: The model with its head, as `transformers` makes it.
        body: The part below the head; of an encoder-decoder both halves.
    """

    options_class = PretrainedSettings
    settings: PretrainedSettings
    needs_base = True
    free_options: ClassVar[frozenset[str]] = frozenset({"tuning", "lora", "config"})
    libraries = ("peft", "transformers")

    def __init__(
        self, settings: PretrainedSettings, vocab_size: int, max_length: int, config: Any, around: Affixes
    ) -> None:
        """Make the network with random weights.

        Args:
            settings: The architecture's options.
            vocab_size: Entries of the tokenizer's vocabulary.
            max_length: Tokens in a sequence, at most.
            config: The model's description, of `transformers`.
            around: What its tokenizer puts around a text.

        Raises:
            ConfigError: The network can't look back so far, or is of another kind.
            ModelError: It has fewer entries than the tokenizer.
        """
        nn.Module.__init__(self)
        self.settings = settings
        self.kind = settings.kind
        self.dim = int(config.hidden_size)
        self.vocab_size = int(config.vocab_size)
        self.max_length = max_length
        self.around = around if self.kind is not Kind.causal else Affixes((), ())
        self.config_hf = config
        if vocab_size > self.vocab_size:
            raise ModelError(f"The tokenizer has {vocab_size} entries, the pretrained model only {self.vocab_size}.")
        self._refuse_length(max_length + len(self.around))
        # Not registered as a part, or every weight would stand twice: here, and below `body` or in a head.
        self._whole: tuple[Any] = (_made(self.kind, config),)
        self.body: nn.Module = self._body()
        own = self.whole.get_output_embeddings() if self.kind is not Kind.bidirectional else None
        self.tie_embeddings = own is not None and own.weight is self.embedding.weight
        self.language_model = type(self.whole).__name__

    @classmethod
    def kind_of(cls, settings: PretrainedSettings) -> Kind:
        """The option `kind`."""
        return settings.kind

    @classmethod
    def build(cls, settings: PretrainedSettings, vocab_size: int, max_length: int, source: Path | None) -> Self:
        """The network that a source describes, with random weights; see `Backbone.build`."""
        if source is None:
            raise ConfigError(
                "The architecture pretrained needs a model to start from; name it as training.base in conf/recipe/."
            )
        with _quiet():
            config = _described(source)
            unknown = sorted(name for name in settings.config if not hasattr(config, name))
            if unknown:
                raise ConfigError(
                    f"model.options.config replaces {', '.join(unknown)}, which a {config.model_type} model's "
                    f"{CONFIG_NAME} does not have."
                )
            config.update(settings.config)
            return cls(settings, vocab_size, max_length, config, Affixes.read(source / TOKENIZER_NAME))

    @property
    def whole(self) -> Any:
        """The model with its head, as `transformers` makes it."""
        return self._whole[0]

    def train(self, mode: bool = True) -> Self:
        """Switch dropout on or off."""
        self.whole.training = mode  # the parts are set by way of `body` and of the head
        super().train(mode)
        return self

    # Weights ---------------------------------------------------------------------------------------------------------

    def start_from(self, base: Path) -> None:
        """Take the weights of a checkpoint or of a fine-tuned model; a classifier's last layers may be missing there.

        Raises:
            ModelError: Weights are missing or of another shape, or the model computes something that Langmill's own
                way through it does not.
            IntegrityError: The folder is damaged.
        """
        read_manifest(base, verify=True)
        loaded, complaint = _loaded(self.kind, base, self.config_hf)
        if complaint:
            raise ModelError(
                f"The weights in {base} do not fit the model that its {CONFIG_NAME} describes: {complaint}."
            )
        self.whole.load_state_dict(loaded.state_dict())
        self._check(base)

    def adapt(self) -> None:
        """Freeze the weights and add an adapter, where `tuning` is `lora`."""
        if self.settings.tuning is not Tuning.lora:
            return
        from peft import LoraConfig, inject_adapter_in_model

        head = {id(parameter) for parameter in self.whole.parameters()} - {id(own) for own in self.body.parameters()}
        learns_head = self.kind is Kind.bidirectional
        lora = self.settings.lora
        every = lora.targets == ["all-linear"]
        try:
            with _quiet():
                # In place: `body` stays the same module, its layers are replaced.
                inject_adapter_in_model(
                    LoraConfig(
                        r=lora.rank,
                        lora_alpha=lora.alpha,
                        lora_dropout=lora.dropout,
                        target_modules=_linear_names(self.body) if every else list(lora.targets),
                        fan_in_fan_out=_transposed(self.body),
                    ),
                    self.body,
                )
        except ValueError as error:
            known = sorted({name.rpartition(".")[2] for name in _linear_names(self.body)})
            raise ConfigError(
                f"model.options.lora.targets is {lora.targets!r}, which names no layer of the model that can be "
                f"adapted; there are: {', '.join(known)}."
            ) from error
        for name, parameter in self.whole.named_parameters():
            parameter.requires_grad_("lora_" in name or (learns_head and id(parameter) in head))

    def settle(self) -> Adapter | None:
        """Add the adapter into the weights; see `Backbone.settle`. None where every weight was trained."""
        layers = {name: module for name, module in self.whole.named_modules() if hasattr(module, "lora_A")}
        if not layers:
            return None
        weights = {}
        for name, layer in layers.items():
            for part in ("lora_A", "lora_B"):
                key = f"{_PREFIX}{name}.{part}.weight"
                weights[key] = getattr(layer, part)["default"].weight.detach().clone().contiguous()
        for name, layer in layers.items():
            layer.merge(safe_merge=True)
            parent = self.whole.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
        lora = self.settings.lora
        config: dict[str, Any] = {
            "peft_type": "LORA",
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "target_modules": sorted(layers),
            "fan_in_fan_out": _transposed(self.body),
            "bias": "none",
            "inference_mode": True,
        }
        if self.kind is Kind.bidirectional:
            # As peft keeps what is trained beside the adapter: a classifier's last layers.
            names = {id(parameter): name for name, parameter in self.whole.named_parameters()}
            inside = {id(parameter) for parameter in self.body.parameters()}
            heads = {name: self.whole.get_parameter(name) for number, name in names.items() if number not in inside}
            weights |= {f"{_PREFIX}{name}": value.detach().clone().contiguous() for name, value in heads.items()}
            config |= {"task_type": "SEQ_CLS", "modules_to_save": sorted({name.partition(".")[0] for name in heads})}
        return Adapter(config, weights)

    def stored_names(self, network: nn.Module) -> dict[str, str]:
        """Hugging Face's name of each weight; a tied one has its first."""
        theirs: dict[int, str] = {}
        for name, tensor in self.whole.state_dict(keep_vars=True).items():
            theirs.setdefault(id(tensor), name)
        mine = network.state_dict(keep_vars=True)
        return {name: theirs.get(id(tensor), name) for name, tensor in mine.items()}  # a head of ours has our name

    # Passes ----------------------------------------------------------------------------------------------------------

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Hidden states `(batch, tokens, width)` from which the head tells what follows; see `Backbone.forward`.

        Raises:
            ModelError: A sequence is too long, or the cache is not one of this network for so many sequences.
        """
        if cache is not None:
            return self._go_on(tokens_BT, lengths_B, cache)
        if self.kind is Kind.encoder_decoder:
            raise ModelError("An encoder-decoder writes from a source text; make a cache with begin().")
        self._refuse_length(tokens_BT.shape[1])
        wrapped_BT, mask_BT = self.around.put(tokens_BT, lengths_B)
        return self._hidden(self.body, input_ids=wrapped_BT, attention_mask=mask_BT, use_cache=False)

    def _go_on(self, tokens_BT: Tensor, lengths_B: Tensor | None, cache: Cache) -> Tensor:
        batch_size, num_tokens = tokens_BT.shape
        if not isinstance(cache, PastKeyValues) or len(cache.lengths) != batch_size:
            raise ModelError(
                f"The cache is not one that this network made for {batch_size} sequences; make it with new_cache()."
            )
        self._refuse_length(cache.length + num_tokens)
        device = tokens_BT.device
        steps_T = torch.arange(num_tokens, device=device)
        if lengths_B is None:
            held_BT = torch.ones(batch_size, num_tokens, dtype=torch.bool, device=device)
        else:
            held_BT = steps_T < lengths_B[:, None]
        if cache.memory is not None:
            if not bool(held_BT.all()) or cache.places != cache.length:
                raise ModelError("The targets of a pretrained encoder-decoder are written in step, one length for all.")
            memory_BSD, mask_BS = cache.memory
            hidden_BTD = self._hidden(
                self.whole.get_decoder(),
                input_ids=tokens_BT,
                encoder_hidden_states=memory_BSD,
                encoder_attention_mask=mask_BS,
                past_key_values=cache.past,
                use_cache=True,
            )
            cache.took(held_BT)
            return self._scaled(hidden_BTD)
        places_BT = torch.tensor(cache.lengths, device=device)[:, None] + steps_T
        named = {"position_ids": places_BT.clamp(max=self.max_length - 1)} if _takes_positions(self.body) else {}
        hidden_BTD = self._hidden(
            self.body,
            input_ids=tokens_BT,
            attention_mask=torch.cat([cache.held_BS, held_BT], dim=1).long(),
            past_key_values=cache.past,
            use_cache=True,
            **named,
        )
        cache.took(held_BT)
        return hidden_BTD

    def new_cache(self, batch_size: int, capacity: int | None = None) -> Cache:
        """An empty cache for `batch_size` sequences; it grows as they do.

        Raises:
            ModelError: The network does not go from left to right by itself.
        """
        del capacity
        if self.kind is not Kind.causal:
            raise ModelError(f"A pretrained network of the kind {self.kind.value} can't go on from a text by itself.")
        from transformers import DynamicCache

        return PastKeyValues(DynamicCache(), batch_size, None, self.embedding.weight.device)

    def encode(self, source_BS: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The memory, of the source and what the tokenizer puts around it; see `EncoderDecoder.encode`."""
        wrapped_BS, mask_BS = self.around.put(source_BS, lengths_B)
        self._refuse_length(wrapped_BS.shape[1])
        return self._hidden(self.whole.get_encoder(), input_ids=wrapped_BS, attention_mask=mask_BS)

    def decode(self, tokens_BT: Tensor, memory_BSD: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Hidden states of whole targets; see `EncoderDecoder.decode`."""
        self._refuse_length(tokens_BT.shape[1])
        hidden_BTD = self._hidden(
            self.whole.get_decoder(),
            input_ids=tokens_BT,
            encoder_hidden_states=memory_BSD,
            encoder_attention_mask=self.around.mask(memory_BSD.shape[1] - len(self.around), lengths_B),
            use_cache=False,
        )
        return self._scaled(hidden_BTD)

    def begin(self, memory_BSD: Tensor, lengths_B: Tensor | None, capacity: int) -> Cache:
        """A cache that holds the memory; see `EncoderDecoder.begin`."""
        del capacity
        from transformers import DynamicCache, EncoderDecoderCache

        mask_BS = self.around.mask(memory_BSD.shape[1] - len(self.around), lengths_B)
        if mask_BS is None:
            mask_BS = torch.ones(memory_BSD.shape[:2], dtype=torch.long, device=memory_BSD.device)
        past = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return PastKeyValues(past, len(memory_BSD), (memory_BSD, mask_BS), memory_BSD.device)

    @property
    def start_id(self) -> int | None:  # type: ignore[override]  # the checkpoint says it
        """The token that a decoder reads first."""
        found: int | None = getattr(self.config_hf, "decoder_start_token_id", None)
        return found

    def _hidden(self, part: Any, **inputs: Any) -> Tensor:
        hidden: Tensor = part(**inputs, return_dict=True).last_hidden_state
        return hidden

    def _scaled(self, hidden_BTD: Tensor) -> Tensor:
        """T5 v1.0 divides by the root of the width before its tied head (Raffel et al., 2020; Mesh TensorFlow)."""
        return hidden_BTD * self.dim**-0.5 if getattr(self.config_hf, "scale_decoder_outputs", False) else hidden_BTD

    # Heads -----------------------------------------------------------------------------------------------------------

    def language_model_head(self) -> nn.Module | None:
        """The checkpoint's own; None where it is the token embedding and nothing else.

        Raises:
            ModelError: It is an encoder, which predicts no tokens here.
        """
        if self.kind is Kind.bidirectional:
            raise ModelError("A pretrained encoder can be fine-tuned as a classifier only; pretrain one of your own.")
        own: nn.Module = self.whole.get_output_embeddings()
        if getattr(own, "bias", None) is None and not hasattr(self.whole, "final_logits_bias"):
            return None if self.tie_embeddings else own
        return _BiasedHead(self.whole, own, tied=self.tie_embeddings)

    def classification_head(self, num_labels: int) -> nn.Module | None:
        """The checkpoint's own, from the token or the mean that its authors chose; an encoder's only."""
        if self.kind is not Kind.bidirectional:
            return None
        self.config_hf.num_labels = num_labels
        with _quiet():
            self._whole = (_made(self.kind, self.config_hf),)
        self.body = self._body()
        return _ClassificationHead(self)

    # About itself ----------------------------------------------------------------------------------------------------

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        found = self.whole.get_input_embeddings()
        assert isinstance(found, nn.Embedding)
        return found

    def flops_per_token(self, length: int) -> float:
        """Operations of the matrix products in a forward pass, for one token in a sequence of `length`.

        Two for each weight of a matrix that is no embedding, and 4 D for each place attended to in each layer.
        """
        tables = {id(module.weight) for module in self.body.modules() if isinstance(module, nn.Embedding)}
        matrices = sum(
            weight.numel() for weight in self.body.parameters() if weight.dim() == 2 and id(weight) not in tables
        )
        halves = 2 if self.kind is Kind.encoder_decoder else 1  # a token goes through one of the two
        return 2.0 * matrices / halves + 4.0 * int(self.config_hf.num_hidden_layers) * self.dim * length

    def config(self) -> dict[str, Any]:
        """The description that `transformers` reads."""
        described: dict[str, Any] = self.config_hf.to_dict()
        described = {name: value for name, value in described.items() if name not in ("_name_or_path", "torch_dtype")}
        return {**described, "architectures": [self.language_model], "num_labels": self.config_hf.num_labels}

    @property
    def affixes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the tokenizer puts around a text, as in `[CLS] … [SEP]`."""
        return self.around.before, self.around.after

    @torch.no_grad()
    def attention(self, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The weights of all layers, an encoder-decoder's of its encoder; see `Attends.attention`."""
        wrapped_BT, mask_BT = self.around.put(tokens_BT, lengths_B)
        part = self.whole.get_encoder() if self.kind is Kind.encoder_decoder else self.body
        with self._told():
            found = part(input_ids=wrapped_BT, attention_mask=mask_BT, output_attentions=True, return_dict=True)
        return torch.stack(found.attentions).float()

    @torch.no_grad()
    def cross_attention(self, source_BS: Tensor, tokens_BT: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """The decoder's weights over the source; see `AttendsToSource.cross_attention`."""
        memory_BSD = self.encode(source_BS, lengths_B)
        with self._told():
            found = self.whole.get_decoder()(
                input_ids=tokens_BT,
                encoder_hidden_states=memory_BSD,
                encoder_attention_mask=self.around.mask(source_BS.shape[1], lengths_B),
                use_cache=False,
                output_attentions=True,
                return_dict=True,
            )
        return torch.stack(found.cross_attentions).float()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Let the network compute its weights where they can be seen, which is slower."""
        usual = self.config_hf._attn_implementation
        self.whole.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.whole.set_attn_implementation(usual)

    def _body(self) -> nn.Module:
        whole = self.whole
        if self.kind is Kind.encoder_decoder:
            return nn.ModuleDict({"encoder": whole.get_encoder(), "decoder": whole.get_decoder()})
        body: nn.Module = whole.base_model
        if body is whole:
            raise ModelError(
                f"{type(whole).__name__} does not tell its head from the rest; it can't be fine-tuned here."
            )
        return body

    def _refuse_length(self, length: int) -> None:
        longest = _longest(self.config_hf)
        if longest is not None and length > longest:
            raise ModelError(
                f"A sequence of {length} tokens is longer than the pretrained model's {longest} positions; "
                "lower training.block_length (and task.options.answer_length), or shorten the text."
            )

    @torch.no_grad()
    def _check(self, base: Path) -> None:
        """See that our way through the model gives the model's own logits, also in a batch and with a cache.

        Models of `transformers` differ in what they do between the hidden states and the logits and in how they tell
        places. What can't be known beforehand of all of them is tried once, before anything is learned.

        Raises:
            ModelError: It does not.
        """
        if self.kind is Kind.bidirectional:
            return  # its own head is used, around everything
        was_training = self.training
        self.eval()
        head = self.language_model_head() or self.whole.get_output_embeddings()
        ids = [torch.tensor([[number % self.vocab_size for number in row]]) for row in _PROBE]
        longest = max(row.shape[1] for row in ids)
        tokens_BT = torch.cat([F.pad(row, (0, longest - row.shape[1])) for row in ids])
        lengths_B = torch.tensor([row.shape[1] for row in ids])
        pairs: list[tuple[Tensor, Tensor]] = []
        if self.kind is Kind.causal:
            theirs = [self.whole(input_ids=row, use_cache=False).logits[0] for row in ids]
            together_BTV = head(self(tokens_BT, lengths_B))
            cache = self.new_cache(len(ids))
            first_BTV = head(self(tokens_BT, lengths_B, cache))
            next_B1 = torch.tensor([[2 % self.vocab_size], [4 % self.vocab_size]])
            second_BTV = head(self(next_B1, None, cache))
            for row, (own, length) in enumerate(zip(theirs, lengths_B.tolist(), strict=True)):
                longer = torch.cat([ids[row], next_B1[row : row + 1]], dim=1)
                pairs += [
                    (own, together_BTV[row, :length]),
                    (own, first_BTV[row, :length]),
                    (self.whole(input_ids=longer, use_cache=False).logits[0, -1], second_BTV[row, 0]),
                ]
        else:
            target_BT = torch.tensor([[self.start_id or 0, 3, 5], [self.start_id or 0, 7, 2]]) % self.vocab_size
            memory_BSD = self.encode(tokens_BT, lengths_B)
            together_BTV = head(self.decode(target_BT, memory_BSD, lengths_B))
            cache = self.begin(memory_BSD, lengths_B, target_BT.shape[1])
            steps = [head(self(target_BT[:, [step]], None, cache)) for step in range(target_BT.shape[1])]
            for row, source in enumerate(ids):
                wrapped, _ = self.around.put(source, None)
                own = self.whole(input_ids=wrapped, decoder_input_ids=target_BT[row : row + 1]).logits[0]
                pairs += [(own, together_BTV[row]), (own, torch.cat(steps, dim=1)[row])]
        self.train(was_training)
        worst = max(float((own - ours).abs().max() / own.abs().max().clamp(min=1.0)) for own, ours in pairs)
        if not worst <= _TOLERANCE:
            raise ModelError(
                f"{self.language_model} in {base} computes its logits in a way that Langmill does not know (they "
                f"differ by {worst:.2g} of the largest); it can't be fine-tuned here."
            )


@dataclass(frozen=True)
class Affixes:
    """The special tokens that a tokenizer puts around a text, as in `[CLS] … [SEP]`."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read them from a `tokenizer.json`; an end-of-text token that is put there anyhow is left out of `after`.

        Raises:
            ModelError: The file can't be read.
        """
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises the bare class
            raise ModelError(f"{file} is not a tokenizer: {error}.") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        bare, whole = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        place = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0) if bare else 0
        return cls(tuple(whole[:place]), tuple(whole[place + len(bare) :]))

    def __len__(self) -> int:
        return len(self.before) + len(self.after)

    def mask(self, num_tokens: int, lengths_B: Tensor | None) -> Tensor | None:
        """One at real tokens, affixes included, `(batch, num_tokens + affixes)`; None where nothing is padded."""
        if lengths_B is None:
            return None
        return (torch.arange(num_tokens + len(self), device=lengths_B.device) < lengths_B[:, None] + len(self)).long()

    def put(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The tokens with the affixes around each sequence's real ones, and the mask of the real ones."""
        batch_size, num_tokens = tokens_BT.shape
        mask_BT = self.mask(num_tokens, lengths_B)
        if not len(self):
            return tokens_BT, mask_BT
        wrapped_BT = F.pad(tokens_BT, (len(self.before), len(self.after)))
        wrapped_BT[:, : len(self.before)] = torch.tensor(self.before, dtype=torch.long, device=tokens_BT.device)
        rows_B = torch.arange(batch_size, device=tokens_BT.device)
        ends_B = torch.full_like(rows_B, num_tokens) if lengths_B is None else lengths_B
        for place, number in enumerate(self.after, start=len(self.before)):
            wrapped_BT[rows_B, ends_B + place] = number
        return wrapped_BT, mask_BT


class _ClassificationHead(nn.Module):
    """What a model of `transformers` for sequence classification has above its body.

    The pass goes through the model's own code, which holds both; only the parts above the body are registered here.
    """

    def __init__(self, backbone: Pretrained) -> None:
        super().__init__()
        self._backbone = (backbone,)
        for name, part in backbone.whole.named_children():
            if part is not backbone.body:
                self.add_module(name, part)

    def forward(self, tokens_BT: Tensor, lengths_B: Tensor | None) -> Tensor:
        backbone = self._backbone[0]
        wrapped_BT, mask_BT = backbone.around.put(tokens_BT, lengths_B)
        backbone._refuse_length(wrapped_BT.shape[1])
        logits_BK: Tensor = backbone.whole(input_ids=wrapped_BT, attention_mask=mask_BT, return_dict=True).logits
        return logits_BK


class _BiasedHead(nn.Module):
    """A linear head and a bias for each token: the layer's own, or one that the model keeps beside it (BART's)."""

    def __init__(self, whole: Any, linear: Any, *, tied: bool) -> None:
        super().__init__()
        self._linear = (linear,)
        if not tied:
            self.linear = linear
        elif linear.bias is not None:
            self.linear_bias = linear.bias
        beside = getattr(whole, "final_logits_bias", None)
        self.register_buffer("final_logits_bias", beside)

    @property
    def weight(self) -> Tensor:
        weight: Tensor = self._linear[0].weight
        return weight

    @property
    def bias(self) -> Tensor:
        own: Any = self._linear[0].bias
        beside: Any = self.final_logits_bias
        if beside is None or own is None:
            found: Tensor = own if beside is None else beside
            return found
        both: Tensor = own + beside
        return both

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        return F.linear(hidden_BTD, self.weight) + self.bias


def _described(source: Path) -> Any:
    """The description of the network in a folder.

    Raises:
        ModelError: There is none, or `transformers` knows no such network.
    """
    from transformers import AutoConfig

    read_config(source)  # says what is wrong with the file
    try:
        return AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, OSError) as error:
        kind = read_json(source / CONFIG_NAME).get("model_type")
        raise ModelError(f"transformers can't read {source / CONFIG_NAME} (model_type {kind!r}): {error}") from error


def _made(kind: Kind, config: Any) -> Any:
    """A network of `transformers` with random weights, in float32.

    Raises:
        ConfigError: The network is of another kind.
    """
    import transformers

    auto = getattr(transformers, _AUTO_CLASSES[kind])
    try:
        return auto.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except ValueError as error:
        raise ConfigError(
            f"model.options.kind is {kind.value!r}, but transformers has no {_AUTO_CLASSES[kind]} for a "
            f"{config.model_type} model."
        ) from error


def _loaded(kind: Kind, folder: Path, config: Any) -> tuple[Any, str]:
    """The network with the weights of a folder, and what is wrong with them ("" if nothing is)."""
    import transformers

    auto = getattr(transformers, _AUTO_CLASSES[kind])
    try:
        with _quiet():
            network, found = auto.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        return None, " ".join(str(error).split())
    head = kind is Kind.bidirectional
    body = {id(tensor) for tensor in network.base_model.state_dict(keep_vars=True).values()}
    inside = {name for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) in body}
    mismatched = {name if isinstance(name, str) else name[0] for name in found["mismatched_keys"]}
    wrong = sorted(name for name in {*found["missing_keys"], *mismatched} if not head or name in inside)
    return network, f"{', '.join(wrong[:3])} are missing or of another shape" if wrong else ""


def _linear_names(body: nn.Module) -> list[str]:
    """The names of the layers below `body` that LoRA can adapt."""
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in body.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _transposed(body: nn.Module) -> bool:
    """Whether its layers hold their matrices the other way round, as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in body.modules())


def _longest(config: Any) -> int | None:
    """Positions that a network has; None where it tells them by distance alone."""
    found = getattr(config, "max_position_embeddings", None)
    if found is None:
        return None
    # RoBERTa and its kin begin to count after the padding token's id.
    offset = config.pad_token_id + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    return int(found) - offset


def _takes_positions(part: nn.Module) -> bool:
    return "position_ids" in inspect.signature(part.forward).parameters


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's progress bars and advice off the terminal."""
    from transformers.utils import logging as words

    level, bars = words.get_verbosity(), words.is_progress_bar_enabled()
    words.set_verbosity_error()
    words.disable_progress_bar()
    try:
        yield
    finally:
        words.set_verbosity(level)
        if bars:
            words.enable_progress_bar()
