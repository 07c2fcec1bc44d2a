"""Causal language models in Llama's shape, run by our own decoder.

The blocks are those of the architecture `decoder`, the weights, their names and `config.json` the base's: logits are
those of `transformers`, and a saved folder opens there (docs/decisions/0213).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from langmill.errors import ModelError
from langmill.models.decoder import Decoder
from langmill.models.folder import Adapter, load_weights
from langmill.models.huggingface.adapters import merge_adapter, prepare
from langmill.models.huggingface.llama_shape import FAMILIES, block_shape
from langmill.models.huggingface.loading import checkpoint_state, refuse_vocabulary
from langmill.models.huggingface.settings import PretrainedSettings
from langmill.models.undrawn import undrawn

_BODY = "model."  # of the names of all weights below the head


class NativeDecoder(Decoder):
    """A published model on our own blocks."""

    options_class = PretrainedSettings  # type: ignore[assignment]  # the shape is not among them
    settings: PretrainedSettings  # type: ignore[assignment]
    needs_base = True
    libraries: ClassVar[tuple[str, ...]] = ("peft", "transformers")

    def __init__(
        self, settings: PretrainedSettings, vocab_size: int, max_length: int, description: Mapping[str, Any]
    ) -> None:
        """Make the network that a `config.json` without obstacles describes; its weights are undefined until loaded.

        Raises ModelError where the network has fewer positions than `max_length`, or fewer entries than the tokenizer.
        """
        nn.Module.__init__(self)
        self.description = description
        self.settings = settings
        self.vocab_size = int(description["vocab_size"])
        self.max_length = max_length
        self.tie_embeddings = bool(description["tie_word_embeddings"])
        self.model_type = description["model_type"]  # type: ignore[misc]  # one class for several
        self.language_model = FAMILIES[self.model_type].language_model
        refuse_vocabulary(vocab_size, self.vocab_size)
        positions = int(description["max_position_embeddings"])
        if max_length > positions:
            raise ModelError(
                f"A sequence of {max_length} tokens is longer than the pretrained model's {positions} positions; "
                "lower training.block_length (and task.options.answer_length), or shorten the text.",
                code="impossible",
            )
        with undrawn():  # a checkpoint's weights follow
            self._make(block_shape(description))
            head = nn.Linear(self.shape.dim, self.vocab_size, bias=False, device="meta")
        self.dim = self.shape.dim
        self.fill_rotary_tables()
        # Not registered as a module, or it would be listed twice; on meta until a task takes it.
        self._head: tuple[nn.Linear] = (head,)

    def language_model_head(self) -> nn.Module | None:
        """The checkpoint's own head; None where it is the token embedding."""
        if self.tie_embeddings:
            return None
        return self._head[0].to_empty(device=self.embed_tokens.weight.device)

    def start_from(self, base: Path) -> None:
        """Load the weights of a checkpoint or of a fine-tuned model.

        Raises:
            ModelError: Weights are missing or of another shape.
            IntegrityError: The folder is damaged.
        """
        state = checkpoint_state(base)
        if not any(name.startswith(_BODY) for name in state):  # saved without its head, so without the prefix too
            state = {f"{_BODY}{name}": tensor for name, tensor in state.items()}
        targets: list[tuple[nn.Module, str]] = [(self, _BODY)]
        if not self._head[0].weight.is_meta:
            targets.append((self._head[0], "lm_head."))
        for module, prefix in targets:
            names = (name for name in module.state_dict() if f"{prefix}{name}" in state)
            load_weights(module, {name: state[f"{prefix}{name}"] for name in names}, str(base), prefix)

    def prepare_for_training(self, network: nn.Module) -> None:
        """Freeze the base's weights, and add an adapter, as `tuning` says; see `Backbone.prepare_for_training`."""
        prepare(network, self, self._base_weights(), self.settings)

    def merge_adapter(self, network: nn.Module) -> Adapter | None:
        """Merge the adapter; see `Backbone.merge_adapter`."""
        return merge_adapter(network, network, self, self._base_weights(), self.settings.lora)

    def _base_weights(self) -> list[nn.Parameter]:
        own = (parameter for name, parameter in self.named_parameters() if "lora_" not in name)
        return [*own, *self._head[0].parameters()]

    def config(self) -> dict[str, Any]:
        """Describe the network as its base's `config.json` does."""
        # Earlier releases of transformers, and programs that follow them, look for the base by itself.
        theta = self.description["rope_parameters"]["rope_theta"]
        return {"rope_theta": theta, **self.description, "architectures": [self.language_model]}
