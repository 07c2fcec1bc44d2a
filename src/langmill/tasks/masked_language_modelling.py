"""Masked language modelling (Devlin et al., 2019): predict masked tokens from the text on both sides of them.

Of the tokens a share is chosen to be predicted; of these four fifths are replaced by the mask token, a tenth by a token
drawn from the vocabulary, and a tenth stays (so that the network can't rely on the mask to know what it will be asked).
Which tokens are chosen is a function of the seed, the epoch and the token's place in the data, however they are cut
into micro-batches.

Shape suffixes: B sequences, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from langmill.config.sections import Training
from langmill.config.typed import settings
from langmill.errors import ConfigError
from langmill.models.base import Backbone, Kind
from langmill.models.generation.config import GenerationConfig, Sampling
from langmill.models.generation.network import Ending
from langmill.models.generation.sampling import choose
from langmill.models.heads import LanguageModel
from langmill.tasks.base import TASKS, Embeds, EncodedInput, Explains, Generates, Task, device_of
from langmill.tasks.batching import Batch, MicroBatches, PackedBatches, Share, first_batches, num_blocks
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

MASK = "<|mask|>"
"""The special token that stands for a masked one; the tokenizer's setting special_tokens must hold it."""
_REPLACED, _DRAWN = 0.8, 0.1
"""Shares of the chosen tokens that become the mask and a drawn token (Devlin et al., 2019, section 3.1)."""
NOT_CHOSEN = -1
"""The target at places where nothing is to be predicted."""
_MOST_TOKENS = 10_000  # of a sample: as many as there are
_PHILOX_NUMBERS = 4  # of 64 bits, for each step of the generator's counter


MaskShare = Annotated[float, Field(gt=0, le=0.5)]
"""A share of tokens that are masked."""


@settings
class MaskedLanguageModellingOptions:
    """Options of the task `masked_language_modelling`."""

    mask_share: MaskShare
    """Share of the tokens that are to be predicted, above 0, to 0.5."""


def mask_tokens(
    tokens: np.ndarray, share: float, mask_id: int, chances: tuple[np.ndarray, np.ndarray], drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a share of the tokens and mask them; return what is read, and the targets: -1 where nothing is predicted.

    All arrays have one shape. `chances` are drawn from 0 to 1: the first decide which tokens are chosen, the second how
    they are masked; `drawn` are tokens of the vocabulary.
    """
    chosen, kind = chances[0] < share, chances[1]
    read = np.where(kind < _REPLACED, mask_id, np.where(kind < _REPLACED + _DRAWN, drawn, tokens))
    return np.where(chosen, read, tokens), np.where(chosen, tokens, NOT_CHOSEN)


class MaskedBatches(MicroBatches):
    """Packed blocks with tokens masked; in each epoch others.

    A block's random numbers depend on the seed, the epoch and the block's place in it alone.
    """

    def __init__(self, blocks: PackedBatches, share: float, mask_id: int, vocab_size: int, *, seed: int) -> None:
        self._blocks = blocks
        self._share = share
        self._mask_id = mask_id
        self._vocab_size = vocab_size
        self._seed = seed

    def __getitem__(self, index: int) -> Batch:
        """Micro-batch `index`: `tokens` and `targets`, both `(B, T)` int64; targets are -1 where none is predicted."""
        tokens = self._blocks[index]["tokens"].numpy()
        chosen, kind, drawn = self._random(self._blocks.items(index), tokens.shape[1])
        read, targets = mask_tokens(
            tokens, self._share, self._mask_id, (chosen, kind), (drawn * self._vocab_size).astype(np.int64)
        )
        return {"tokens": torch.from_numpy(read), "targets": torch.from_numpy(targets)}

    def _random(self, items: range, length: int) -> np.ndarray:
        """Three numbers from 0 to 1 for every token of some blocks, `(3, blocks, length)`."""
        # A counter-based generator can begin anywhere: every block has its own stretch of an epoch's numbers.
        counts = -(-3 * length // _PHILOX_NUMBERS)
        found = []
        while items:
            epoch, first = divmod(items.start, self._blocks.num_blocks)
            of_epoch = items[: self._blocks.num_blocks - first]
            key = np.array([self._seed, 2**63 + epoch], dtype=np.uint64)  # not that of the epoch's order
            random = np.random.Generator(np.random.Philox(key=key).advance(first * counts))
            found.append(random.random((len(of_epoch), counts * _PHILOX_NUMBERS))[:, : 3 * length])
            items = items[len(of_epoch) :]
        return np.moveaxis(np.concatenate(found).reshape(-1, 3, length), 1, 0)


@TASKS.register("masked_language_modelling")
class MaskedLanguageModelling(Task, Generates, Embeds, Explains):
    """Predict masked tokens: what an encoder is pretrained with."""

    options_class = MaskedLanguageModellingOptions
    options: MaskedLanguageModellingOptions
    kinds = frozenset({Kind.bidirectional})
    special_tokens = (MASK,)
    needs_special_tokens = True
    scorer = "masked_language_modelling"

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Packed blocks of the whole stream, tokens masked."""
        return self._masked(shard, training, Share.of(training, rank, world_size))

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Blocks drawn from all over the stream, each at most once; always the same tokens are masked."""
        blocks = num_blocks(shard.num_tokens, training.block_length)
        return first_batches(blocks, training, lambda share: self._masked(shard, training, share))

    def _masked(self, shard: Shard, training: Training, share: Share) -> MaskedBatches:
        mask_id = shard.special_ids.get(MASK)
        if mask_id is None:
            remedy = f"put {MASK!r} into special_tokens in conf/tokenizer/"
            raise ConfigError(f"The tokenizer has no mask token; {remedy}.", code="missing")
        blocks = PackedBatches(shard.tokens, training.block_length, share)
        return MaskedBatches(blocks, self.options.mask_share, mask_id, shard.vocab_size, seed=share.seed)

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        return LanguageModel(backbone)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the masked tokens."""
        assert isinstance(network, LanguageModel)
        return network.loss(batch["tokens"], batch["targets"])

    def num_targets(self, batch: Batch) -> float:
        """The masked tokens."""
        return int((batch["targets"] != NOT_CHOSEN).sum())

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """The prompt with its masks filled by the most likely tokens."""
        del seed  # nothing is drawn
        sampling = Sampling(_MOST_TOKENS)
        return tokenizer.decode(list(self.generate(network, self.prompt_ids(tokenizer, prompt), sampling)))

    @property
    def generation_config(self) -> GenerationConfig:
        """The most likely token for each mask; the whole text is given back, however long it is."""
        return GenerationConfig(_MOST_TOKENS, temperature=0.0)

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """The tokens of a text in which `<|mask|>` stands for masked tokens, one each.

        A place to be filled is the complement of the mask token's id, below zero: `generate` must tell it from a token.
        """
        to_fill = ~tokenizer.special_ids[MASK]
        first, *others = (tokenizer.encode(piece) for piece in prompt.split(MASK))
        ids = list(first)
        for piece in others:
            ids += [to_fill, *piece]
        return ids or [tokenizer.eot_id]

    def given_ids(self, tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
        """The tokens, the mask token's places to be filled."""
        mask_id = tokenizer.special_ids[MASK]
        return [~token if token == mask_id else token for token in ids]

    def room(self, prompt_ids: Sequence[int], max_length: int) -> int:
        """As many as the network can read: the answer is the prompt, filled."""
        return max_length

    def encode_input(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> EncodedInput:
        """The tokens of a text, masks among them; of a long one its beginning."""
        assert isinstance(network, LanguageModel)
        tokens = [~token if token < 0 else token for token in self.prompt_ids(tokenizer, text)]
        return EncodedInput(tokens[: network.model.max_length], max(0, len(tokens) - network.model.max_length))

    @torch.inference_mode()
    def generate(
        self, network: nn.Module, prompt_ids: Sequence[int], sampling: Sampling
    ) -> Generator[int, None, Ending]:
        """The whole text, each mask replaced by a token; the masks are filled independently of each other.

        Raises ModelError where the text is longer than the network can read at once.
        """
        assert isinstance(network, LanguageModel)
        read = [~token if token < 0 else token for token in prompt_ids]
        logits_TV = network(torch.tensor([read], device=device_of(network)))[0]
        random = sampling.generator()
        for count, (token, logits_V) in enumerate(zip(prompt_ids, logits_TV, strict=True)):
            if count == sampling.max_new_tokens:
                return Ending.length
            yield choose(logits_V, sampling, random) if token < 0 else token
        return Ending.stop
