"""Masked-token pretraining (Devlin et al., 2019): tell hidden tokens from the text on both sides of them.

Of the tokens a share is chosen to be told; of these four fifths are replaced by the mask token, a tenth by a token
drawn from the vocabulary, and a tenth stays (so that the network can't rely on the mask to know what it will be asked).
Which tokens are chosen is a function of the seed, the epoch and the token's place in the data in training, however they
are cut into micro-batches, and of the document's id in evaluation: a score is the same at every evaluation.

Shape suffixes: B sequences, T tokens, N chosen tokens, V vocabulary, R resamples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from langmill.config.sections import Evaluation, Training, require
from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.models.base import Backbone, Kind
from langmill.models.generation.config import GenerationConfig, Sampling, likeliest
from langmill.models.generation.network import Ending
from langmill.models.generation.sampling import choose
from langmill.models.heads import LanguageModel
from langmill.tasks.base import (
    TASKS,
    Baseline,
    Explains,
    Generates,
    Metric,
    Plot,
    Reading,
    Strength,
    Task,
    TrainingData,
    device_of,
)
from langmill.tasks.batching import (
    LEAST_ROWS,
    Batch,
    FirstBatches,
    MicroBatches,
    PackedBatches,
    Share,
    pad,
    padded_length,
    uniform_batches,
)
from langmill.scoring.likelihood import likelihood
from langmill.scoring.ngram import fit_ngram
from langmill.tokenization.shards import Shard
from langmill.tokenization.tokenizer import Tokenizer

MASK = "<|mask|>"
"""The special token that stands for a hidden one; the tokenizer's setting special_tokens must hold it."""
_REPLACED, _DRAWN = 0.8, 0.1
"""Shares of the chosen tokens that become the mask and a drawn token (Devlin et al., 2019, section 3.1)."""
_NOT_CHOSEN = -1
_MOST_TOKENS = 10_000  # of a sample: as many as there are
_PHILOX_NUMBERS = 4  # of 64 bits, for each step of the generator's counter


@dataclass
class MaskedLanguageModellingOptions:
    """Options of the task `masked_language_modelling`."""

    mask_share: float
    """Share of the tokens that are to be told, above 0, to 0.5."""
    score_length: int
    """Tokens of a document that are scored; of a longer one its beginning."""

    def __post_init__(self) -> None:
        require(0 < self.mask_share <= 0.5, "task.options.mask_share", self.mask_share, "above 0, at most 0.5")
        require(self.score_length >= 1, "task.options.score_length", self.score_length, "1 or more")


def hide(
    tokens: np.ndarray, share: float, mask_id: int, chances: tuple[np.ndarray, np.ndarray], drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens to be told and hide them.

    Args:
        tokens: Token ids, any shape.
        share: How many of them are chosen.
        mask_id: The mask token.
        chances: Numbers drawn from 0 to 1, of the tokens' shape: the first decide which are chosen, the second how they
            are hidden.
        drawn: Tokens drawn from the vocabulary, of the tokens' shape.

    Returns:
        The tokens as the network reads them, and the targets: -1 where nothing is to be told.
    """
    chosen, kind = chances[0] < share, chances[1]
    read = np.where(kind < _REPLACED, mask_id, np.where(kind < _REPLACED + _DRAWN, drawn, tokens))
    return np.where(chosen, read, tokens), np.where(chosen, tokens, _NOT_CHOSEN)


class MaskedBatches(MicroBatches):
    """Packed blocks with tokens hidden; in each pass others.

    A block's random numbers depend on the seed, the epoch and the block's place in it alone.

    Args:
        blocks: The blocks.
        share: How many tokens are hidden.
        mask_id: The mask token.
        vocab_size: Entries of the vocabulary.
        seed: Decides, together with the epoch and the place.
    """

    def __init__(self, blocks: PackedBatches, share: float, mask_id: int, vocab_size: int, *, seed: int) -> None:
        self._blocks = blocks
        self._share = share
        self._mask_id = mask_id
        self._vocab_size = vocab_size
        self._seed = seed

    def __getitem__(self, index: int) -> Batch:
        """Micro-batch `index`: `tokens` and `targets`, both `(B, T)` int64; targets are -1 where nothing is told."""
        tokens = self._blocks[index]["tokens"].numpy()
        chosen, kind, drawn = self._random(self._blocks.items(index), tokens.shape[1])
        read, targets = hide(
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

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps in one pass over the blocks."""
        return self._blocks.epoch_steps


@TASKS.register("masked_language_modelling")
class MaskedLanguageModelling(Task, Generates, Explains):
    """Tell hidden tokens: what an encoder is pretrained with."""

    options_class = MaskedLanguageModellingOptions
    options: MaskedLanguageModellingOptions
    kinds = frozenset({Kind.bidirectional})
    judging_options = ("mask_share", "score_length")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The loss on hidden tokens decides."""
        return (
            Metric("masked_loss", "Loss on hidden tokens", higher_is_better=False, unit="nats", per_token=True),
            Metric("masked_accuracy", "Accuracy on hidden tokens", higher_is_better=True, per_token=True),
        )

    # Data ------------------------------------------------------------------------------------------------------------

    def check(self, document: Document) -> str | None:
        """Every text can be learned from, except an empty one."""
        return None if document.text else "empty_text"

    def find_labels(self, documents: Iterable[Document]) -> list[str]:
        """None."""
        return []

    def parts(self, document: Document) -> list[str]:
        """The text."""
        return [document.text]

    def micro_batches(
        self, shard: Shard, training: Training, *, rank: int, world_size: int, eot_id: int
    ) -> MicroBatches:
        """Packed blocks of the whole stream, tokens hidden."""
        blocks = PackedBatches(shard.tokens, training.block_length, Share.of(training, rank, world_size))
        return self._hidden(blocks, shard, training.seed)

    def validation_batches(self, shard: Shard, training: Training, *, eot_id: int) -> Sequence[Batch]:
        """Blocks drawn from all over the stream, each at most once; always the same tokens are hidden."""
        if not shard.num_tokens:
            return []
        size = min(training.micro_batch_size, max(1, shard.num_tokens // training.block_length))
        blocks = PackedBatches(shard.tokens, training.block_length, Share(0, size, size, rank=0, world_size=1))
        count = min(training.validation_batches, blocks.num_blocks // size)
        return FirstBatches(self._hidden(blocks, shard, 0), count)

    def _hidden(self, blocks: PackedBatches, shard: Shard, seed: int) -> MaskedBatches:
        mask_id = shard.special_ids.get(MASK)
        if mask_id is None:
            raise ConfigError(f"The tokenizer has no mask token; put {MASK!r} into special_tokens in conf/tokenizer/.")
        return MaskedBatches(blocks, self.options.mask_share, mask_id, shard.vocab_size, seed=seed)

    def context_length(self, block_length: int) -> int:
        """The longer of what is learned from and what is scored."""
        return max(block_length, self.options.score_length)

    # Learning --------------------------------------------------------------------------------------------------------

    def network(self, backbone: Backbone) -> nn.Module:
        """The backbone with a head over the vocabulary."""
        return LanguageModel(backbone, backbone.tie_embeddings)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross entropy over the hidden tokens."""
        assert isinstance(network, LanguageModel)
        return network.loss(batch["tokens"], batch["targets"])

    def num_targets(self, batch: Batch) -> float:
        """The hidden tokens."""
        return int((batch["targets"] != _NOT_CHOSEN).sum())

    def sample(self, network: nn.Module, tokenizer: Tokenizer, prompt: str, seed: int) -> str:
        """The prompt with its masks filled by the likeliest tokens."""
        del seed  # nothing is drawn
        sampling = likeliest(_MOST_TOKENS, ())
        return tokenizer.decode(list(self.generate(network, self.prompt_ids(tokenizer, prompt), sampling)))

    @property
    def generation_config(self) -> GenerationConfig:
        """The likeliest token for each mask; the whole text is given back, however long it is."""
        return GenerationConfig(_MOST_TOKENS, temperature=0.0)

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str) -> list[int]:
        """The tokens of a text in which `<|mask|>` stands for hidden tokens, one each.

        A place to be filled is the complement of the mask token's id, below zero: `generate` must tell it from a token.
        """
        to_fill = ~tokenizer.special_ids[MASK]
        first, *others = (tokenizer.encode(piece) for piece in prompt.split(MASK))
        ids = list(first)
        for piece in others:
            ids += [to_fill, *piece]
        return ids or [tokenizer.eot_id]

    def room(self, prompt_ids: Sequence[int], max_length: int) -> int:
        """As many as the network can read: the answer is the prompt, filled."""
        return max_length

    def reading(self, network: nn.Module, tokenizer: Tokenizer, text: str) -> Reading:
        """The tokens of a text, masks among them; of a long one its beginning."""
        assert isinstance(network, LanguageModel)
        tokens = [~token if token < 0 else token for token in self.prompt_ids(tokenizer, text)]
        return Reading(tokens[: network.model.max_length], max(0, len(tokens) - network.model.max_length))

    @torch.inference_mode()
    def generate(
        self, network: nn.Module, prompt_ids: Sequence[int], sampling: Sampling
    ) -> Generator[int, None, Ending]:
        """The whole text, each mask replaced by a token; the masks are filled independently of each other.

        Raises:
            ModelError: The text is longer than the network can read at once.
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

    # Judging ---------------------------------------------------------------------------------------------------------

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Nats, hidden tokens and right answers of each document; of a long one, of its beginning.

        Which tokens are hidden depends on the document alone, and scores do not depend on `evaluation.batch_tokens`.
        """
        assert isinstance(network, LanguageModel)
        examples = self._examples(tokenizer, documents, evaluation)
        nats, correct = np.zeros(len(documents)), np.zeros(len(documents), dtype=np.int64)
        device = device_of(network)
        shapes = [(padded_length(len(read), network.model.max_length),) for read, _ in examples]
        for chosen, (padded,) in uniform_batches(shapes, evaluation.batch_tokens):
            tokens_BT, lengths_B = pad([examples[number][0] for number in chosen], tokenizer.eot_id, padded, LEAST_ROWS)
            targets_BT, _ = pad([examples[number][1] for number in chosen], _NOT_CHOSEN)
            row_N, place_N = (targets_BT >= 0).nonzero(as_tuple=True)
            with torch.inference_mode():
                hidden_BTD = network.model(tokens_BT.to(device), lengths_B.to(device))
                hidden_ND = hidden_BTD[row_N.to(device), place_N.to(device)]
                found = likelihood(network.head, hidden_ND, targets_BT[row_N, place_N].to(device))
            document = np.array(chosen)[row_N.numpy()]
            for column, values in zip((nats, correct), found, strict=True):
                np.add.at(column, document, values)
            if progress is not None:
                progress(len(chosen))
        return _table(documents, nats, _counts(examples), correct)

    def _examples(
        self, tokenizer: Tokenizer, documents: Sequence[Document], evaluation: Evaluation
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each document's tokens as the network reads them, and what is to be told; at least one token is hidden."""
        mask_id = tokenizer.special_ids[MASK]
        encoded = tokenizer.encode_batch([document.text for document in documents], threads=evaluation.threads)
        examples = []
        for document, tokens in zip(documents, encoded, strict=True):
            digest = hashlib.sha256(document.id.encode()).digest()
            random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
            kept = (tokens if len(tokens) else np.array([tokenizer.eot_id]))[: self.options.score_length].astype(
                np.int64
            )
            chances = random.random(kept.shape), random.random(kept.shape)
            drawn = random.integers(tokenizer.vocab_size, size=kept.shape)
            read, targets = hide(kept, self.options.mask_share, mask_id, chances, drawn)
            if (targets == _NOT_CHOSEN).all():
                place = int(random.integers(len(kept)))
                targets[place], read[place] = kept[place], mask_id
            examples.append((read, targets))
        return examples

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Ratios of weighted sums over the documents."""
        columns = ("nats", "tokens", "correct")
        sums = weights_RN @ np.stack([scores[name].to_numpy().astype(np.float64) for name in columns], axis=1)
        nats, tokens, correct = sums.T
        return {"masked_loss": nats / tokens, "masked_accuracy": correct / tokens}

    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """A smoothed unigram: how common each token is, whatever stands around it."""
        del max_length  # it is asked for the same hidden tokens
        model = fit_ngram(train.shard.tokens, tokenizer.vocab_size, tokenizer.eot_id, 1)
        examples = self._examples(tokenizer, documents, evaluation)
        nats, correct = np.zeros(len(documents)), np.zeros(len(documents), dtype=np.int64)
        for number, (_, targets) in enumerate(examples):
            told = targets[targets != _NOT_CHOSEN]
            nats[number] = model.nats(told).sum()
            correct[number] = int((model.most_likely(told) == told).sum())
        return [Baseline("unigram", Strength.trivial, _table(documents, nats, _counts(examples), correct))]

    def plots(self, scores: pa.Table) -> list[Plot]:
        """How the documents' losses are spread."""
        values = np.sort(scores["nats"].to_numpy() / scores["tokens"].to_numpy())
        return [
            Plot(
                "document_losses",
                "histogram",
                "Loss on the hidden tokens of each document",
                "nats per hidden token",
                "documents",
                {"nats per hidden token": [float(value) for value in values]},
            )
        ]


def _counts(examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.array([int((targets != _NOT_CHOSEN).sum()) for _, targets in examples], dtype=np.int64)


def _table(documents: Sequence[Document], nats: np.ndarray, tokens: np.ndarray, correct: np.ndarray) -> pa.Table:
    ids = pa.array([document.id for document in documents], pa.string())
    return pa.table({"id": ids, "nats": nats, "tokens": tokens, "correct": correct})
