"""Short conversations in a training step: padded by length, or packed with a mask between them.

    python benchmarks/packing.py --threads 1 --steps 8

Both train the same network, of SmolLM2's shape with 4 of its 30 layers, on the same conversations; the last part of
each is learned. Steps alternate, so that whatever else the machine does falls on both. Printed are tokens of
conversations a second of processor time (padding is none), the median over steps. Lengths are log-normal.

Shape suffixes: B sequences, T tokens, E width of a head.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from langmill.models.base import build_backbone
from langmill.models.decoder import Decoder
from langmill.models.heads import LanguageModel
from langmill.models.layers.llama import Positions

SHAPE = {
    "dim": 576, "num_layers": 4, "num_heads": 9, "num_kv_heads": 3, "hidden_dim": 1536, "rope_theta": 1e5,
    "norm_eps": 1e-5, "tie_embeddings": True, "dropout": 0.0,
}  # fmt: skip
VOCABULARY = 49_152
BATCH = 16
ROW = 512
LEARNED = 0.4  # of a conversation


def padded(lengths: np.ndarray) -> tuple[Tensor, Tensor]:
    """A batch of neighbours in length: tokens and targets `(B, T)`, -1 where nothing is learned."""
    shape = (len(lengths), int(max(lengths)))
    targets = np.full(shape, -1)
    for row, length in zip(targets, lengths, strict=True):
        row[int(length * (1 - LEARNED)) : length] = 5
    return torch.full(shape, 7), torch.from_numpy(targets)


def packed(lengths: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same conversations in rows of `ROW`, first fit: tokens, targets, positions, and the mask `(B, 1, T, T)`."""
    rows: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        place = next((row for row in rows if sum(row) + length <= ROW), None)
        if place is None:
            rows.append(place := [])
        place.append(int(length))
    targets, document, positions = (np.full((len(rows), ROW), fill) for fill in (-1, -1, 0))
    for number, row in enumerate(rows):
        start = 0
        for place, length in enumerate(row):
            targets[number, start + int(length * (1 - LEARNED)) : start + length] = 5
            document[number, start : start + length] = place
            positions[number, start : start + length] = np.arange(length)
            start += length
    document_BT = torch.from_numpy(document)
    mask = (document_BT[:, :, None] == document_BT[:, None, :]).tril()[:, None]
    return torch.full((len(rows), ROW), 7), torch.from_numpy(targets), torch.from_numpy(positions), mask


def step(network: LanguageModel, tokens: Tensor, targets: Tensor, positions: Positions, *, learned_only: bool) -> None:
    """Forward and backward pass, the head over all tokens or over the learned ones."""
    assert isinstance(network.model, Decoder)
    hidden = network.model.run(tokens, positions)
    if learned_only:
        hidden, targets = hidden[targets >= 0][None], targets[targets >= 0][None]
    network.cross_entropy(hidden, targets).backward()
    network.zero_grad(set_to_none=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--median", type=float, default=90, help="tokens of a conversation")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    random = np.random.default_rng(0)
    drawn = random.lognormal(np.log(arguments.median), 0.5, 50 * BATCH).astype(int).clip(16, ROW)
    batches = random.permutation(np.sort(drawn).reshape(-1, BATCH))  # as training batches them
    torch.manual_seed(0)
    network = LanguageModel(build_backbone("decoder", SHAPE, VOCABULARY, ROW, "benchmark")).train()
    decoder = network.model
    assert isinstance(decoder, Decoder)

    def run_padded(lengths: np.ndarray, learned_only: bool) -> None:
        tokens, targets = padded(lengths)
        step(network, tokens, targets, Positions(*decoder.rotary(tokens.shape[1])), learned_only=learned_only)

    def run_packed(lengths: np.ndarray, learned_only: bool) -> None:
        tokens, targets, places, mask = packed(lengths)
        rotary = decoder.cos_SE[places][:, :, None], decoder.sin_SE[places][:, :, None]
        step(network, tokens, targets, Positions(rotary, rotary, mask=mask, causal=False), learned_only=learned_only)

    # Packing needs no neighbours in length, so it draws from all.
    ways: dict[str, tuple[Callable[[np.ndarray, bool], None], Callable[[int], np.ndarray]]] = {
        "padded by length": (run_padded, lambda number: batches[number % len(batches)]),
        "packed with a mask": (run_packed, lambda _: random.choice(drawn, BATCH)),
    }
    speeds: dict[tuple[str, bool], list[float]] = {}
    for number in range(arguments.steps + 1):
        for learned_only in (False, True):
            for name, (run, draw) in ways.items():
                lengths = draw(number)
                start = time.process_time()
                run(lengths, learned_only)
                if number:  # the first warms up
                    speeds.setdefault((name, learned_only), []).append(lengths.sum() / (time.process_time() - start))
    filled = [row[0].numel() for row in (packed(random.choice(drawn, BATCH)) for _ in range(50))]
    print(f"lengths {drawn.mean():.0f} on average, {drawn.min()} to {drawn.max()}; {arguments.threads} threads")
    print(f"padding: {1 - drawn.sum() / (batches.max(axis=1) * BATCH).sum():.1%} padded by length, "
          f"{1 - drawn.mean() * BATCH / np.mean(filled):.1%} packed")  # fmt: skip
    for (name, learned_only), found in speeds.items():
        head = "over the learned tokens" if learned_only else "over all tokens"
        print(f"{name}, head {head}: {statistics.median(found):.0f} tokens/s ({min(found):.0f} to {max(found):.0f})")


if __name__ == "__main__":
    main()
