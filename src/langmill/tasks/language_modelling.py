"""Language modelling: predict the next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from langmill.config.sections import Training
from langmill.config.typed import settings
from langmill.models.base import Backbone, Kind
from langmill.models.generation.config import GenerationConfig, Sampling
from langmill.models.heads import LanguageModel
from langmill.tasks.base import TASKS, Embeds, EncodedInput, Explains, Generates, Task
from langmill.tasks.batching import Batch, MicroBatches, PackedBatches, Share, first_batches, num_blocks
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer


@settings
class LanguageModellingOptions:
    """Options of the task `language_modelling`."""

    sample_tokens: PositiveInt
    """Tokens in a sample text that is generated during training, at most."""
    sample_temperature: Annotated[float, Field(ge=0, le=10)]
    """How freely samples are drawn: 1 as the network says, below 1 safer, 0 always the most likely token."""


@TASKS.register("language_modelling")
class LanguageModelling(Task, Generates, Embeds, Explains):
    """Predict the next token of a text."""

    options_class = LanguageModellingOptions
    options: LanguageModellingOptions
    kinds = frozenset({Kind.causal})
    eot_before = True
    scorer = "language_modelling"

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Packed blocks of the whole stream."""
        return PackedBatches(shard.tokens, training.block_length, Share.of(training, rank, world_size))

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Blocks drawn from all over the stream, each at most once."""
        length = training.block_length
        blocks = num_blocks(shard.num_tokens, length)
        return first_batches(blocks, training, lambda share: PackedBatches(shard.tokens, length, share))

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        return LanguageModel(backbone)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over all tokens of the blocks."""
        assert isinstance(network, LanguageModel)
        return network.loss(batch["tokens"], batch["targets"])

    def num_targets(self, batch: Batch) -> float:
        """All tokens of the blocks."""
        return batch["targets"].numel()

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """How the network goes on from a prompt, the prompt included (its end, where the prompt is very long)."""
        assert isinstance(network, LanguageModel)
        options, stop_ids = self.options, self.stop_ids(tokenizer)
        sampling = Sampling(options.sample_tokens, options.sample_temperature, seed=seed, stop_ids=stop_ids)
        prompt_ids = self.prompt_ids(tokenizer, prompt)[-max(1, network.model.max_length // 2) :]
        return prompt + tokenizer.decode(list(self.generate(network, prompt_ids, sampling)))

    @property
    def generation_config(self) -> GenerationConfig:
        """What `langmill generate` took before a model said it itself."""
        return GenerationConfig(max_new_tokens=100, temperature=0.8, top_k=50)

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """An end-of-text token, as before every document in training, and the prompt."""
        return [tokenizer.eot_id, *tokenizer.encode(prompt)]

    def encode_input(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> EncodedInput:
        """The prompt that a text makes; of a long one its beginning."""
        assert isinstance(network, LanguageModel)
        tokens = self.prompt_ids(tokenizer, text)
        return EncodedInput(tokens[: network.model.max_length], max(0, len(tokens) - network.model.max_length))
