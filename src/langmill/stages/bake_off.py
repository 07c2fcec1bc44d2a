"""Learn several vocabularies of the same texts, measure each, and train the same small network with each.

It is no stage of the graph: nothing follows from it but a person's choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from langmill.config.sections import Evaluation, TokenizerNormalizer
from langmill.data.document import Document
from langmill.errors import ConfigError
from langmill.evaluation.tokenizers import Entry, Texts
from langmill.models.base import build_backbone
from langmill.models.heads import LanguageModel
from langmill.progress import track
from langmill.scoring.base import build_scorer
from langmill.tasks.base import build_task
from langmill.tasks.batching import PackedBatches, Share
from langmill.tokenization.algorithms.base import build_algorithm
from langmill.tokenization.measures import measure
from langmill.tokenization.tokenizer import FILE_NAME, Tokenizer
from langmill.tokenization.training import train_tokenizer
from langmill.training.timed import Training, train_for

_NETWORK = {
    "dim": 128, "num_layers": 2, "num_heads": 4, "num_kv_heads": 4, "hidden_dim": 352, "rope_theta": 10000.0,
    "norm_eps": 1e-5, "tie_embeddings": True, "dropout": 0.0,
}  # fmt: skip
"""The body of every network, as conf/model/decoder-small.yaml has it; the embedding is the vocabulary's."""
_LENGTH, _SEQUENCES = 256, 8  # tokens of a sequence, sequences of a step
_SCORED_BYTES = 100_000  # of the validation texts, for bits per byte
_LEAST = 257  # entries
_WHERE = "langmill tokenizers"


@dataclass(frozen=True)
class BakeOff:
    """What all vocabularies of a comparison share."""

    texts: Texts
    """What is learned from, and what is measured on."""
    normalizer: TokenizerNormalizer
    """What is done to each text before."""
    seconds: float
    """Of training with each, on one thread; 0 for none."""
    seed: int
    """Draws the order of the data and the first weights."""
    evaluation: Evaluation
    """How bits per byte are scored."""
    folder: Path
    """For the vocabularies, one folder each."""

    def run(self, algorithms: Sequence[str], sizes: Sequence[int]) -> list[Entry]:
        """Compare the vocabularies of some algorithms, each of some sizes; one that decides its size itself has one.

        Raises:
            ConfigError: An algorithm is unknown, or a size impossible.
            TokenizerError: There is no text.
        """
        if wrong := [size for size in sizes if size < _LEAST]:
            raise ConfigError(
                f"--sizes has {wrong[0]}; allowed is {_LEAST} (256 bytes and the end-of-text token) or more.",
                "impossible",
            )
        named = list(_named(algorithms, sizes))
        with track("Learning vocabularies", len(named) * len(self.texts.train), "documents") as progress:
            entries = [self._learned(*each, lambda _: progress.advance()) for each in named]
        if not self.seconds:
            return entries
        trainings = [self._training(entry) for entry in entries]
        with track("Training with each", len(entries) * self.seconds, "seconds") as progress:
            train_for(trainings, self.seconds, progress.advance)
        return [self._trained(*each) for each in zip(entries, trainings, strict=True)]

    def _learned(self, name: str, algorithm: str, size: int | None, on_text: Callable[[str], object]) -> Entry:
        file = self.folder / name / FILE_NAME
        began = time.process_time()
        train_tokenizer(algorithm, size, self.texts.train, file, on_text, normalizer=self.normalizer)
        taken = time.process_time() - began
        tokenizer = Tokenizer.load(file)
        found = measure(tokenizer, self.texts.validation)
        return Entry(name, algorithm, tokenizer.vocab_size, tokenizer.losses, taken, found)

    def _training(self, entry: Entry) -> Training:
        """A small network and the texts in its vocabulary."""
        tokenizer = Tokenizer.load(self.folder / entry.name)
        torch.manual_seed(self.seed)
        network = LanguageModel(build_backbone("decoder", _NETWORK, tokenizer.vocab_size, _LENGTH, _WHERE))
        end = np.array([tokenizer.eot_id], dtype=tokenizer.dtype)
        encoded = tokenizer.encode_batch(self.texts.train, self.evaluation.threads)
        stream = np.concatenate([part for ids in encoded for part in (ids, end)])
        return Training(network, PackedBatches(stream, _LENGTH, Share(self.seed, _SEQUENCES, _SEQUENCES, 0, 1)))

    def _trained(self, entry: Entry, training: Training) -> Entry:
        """The entry with the bits per byte of the network, by the scorer that judges every language model."""
        tokenizer = Tokenizer.load(self.folder / entry.name)
        return replace(
            entry,
            bits_per_byte=_bits_per_byte(training.network, tokenizer, self.texts.validation, self.evaluation),
            trained_steps=training.steps,
            trained_megabytes=training.tokens * entry.measures.bytes_per_token / 1e6,
        )


def _named(algorithms: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[str, str, int | None]]:
    """A name for each vocabulary, its algorithm and its size."""
    for algorithm in dict.fromkeys(algorithms):
        if build_algorithm(algorithm, {}, "--algorithms").fixed_size:
            yield algorithm, algorithm, None
        else:
            yield from ((f"{algorithm}-{size}", algorithm, size) for size in dict.fromkeys(sizes))


def _bits_per_byte(network: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str], evaluation: Evaluation) -> float:
    task = build_task("language_modelling", {"sample_tokens": 1, "sample_temperature": 0.0}, (), _WHERE)
    decoding = {"max_new_tokens": 1, "temperature": 0.0}
    scorer = build_scorer(task, {"context_overlap": 0.25, "decoding": decoding}, _WHERE)
    sizes = np.cumsum([len(text.encode()) for text in texts])
    scored = texts[: 1 + int(np.searchsorted(sizes, _SCORED_BYTES))]
    documents = [Document(str(number), text) for number, text in enumerate(scored)]
    scores = scorer.score(network, tokenizer, documents, evaluation)
    return float(scorer.measure(scores, np.ones((1, len(documents))))["bits_per_byte"][0])
