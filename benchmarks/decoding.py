"""What a step of decoding takes, on one thread: our blocks as modules and prepared, and products of few tokens.

    python benchmarks/decoding.py decoder-small decoder-writer
    python benchmarks/decoding.py --products

Networks have drawn weights in the shapes of `conf/model`. Both ways take turns on the same tokens, by processor time,
which tells more than the clock on a machine that others use. A step reads a token of every text, whose lengths differ,
and takes the largest logits. Products are of one and of eight tokens with matrices `(out, in)`: as `linear` computes
them, with the matrix from the left, and packed by oneDNN.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn import functional as F

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
VOCABULARY, LENGTH, PROMPT, STEPS = 4096, 128, 16, 40
MATRICES = ((384, 128), (704, 128), (128, 352), (4096, 128), (960, 576), (3072, 576), (576, 1536), (49152, 576))


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of decoders in conf/model")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--products", action="store_true", help="time products of few tokens")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    with torch.inference_mode():
        for name in arguments.models:
            for rows in (1, 8):
                steps(name, rows, arguments.rounds)
        if arguments.products:
            products(arguments.rounds)


def steps(name: str, rows: int, rounds: int) -> None:
    """Print the time of a step of so many texts."""
    networks = {"modules": drawn(name), "prepared": drawn(name)}
    networks["prepared"].model.prepare_for_inference()
    found: dict[str, list[float]] = {way: [] for way in networks}
    chosen: dict[str, list[int]] = {}
    for _ in range(rounds + 1):
        for way, network in networks.items():
            microseconds, chosen[way] = decoded(network, rows)
            found[way].append(microseconds)
    ratios = [plain / ours for plain, ours in zip(found["modules"][1:], found["prepared"][1:], strict=True)]
    times = ", ".join(f"{way} {statistics.median(each[1:]):.0f} us" for way, each in found.items())
    same = "" if chosen["modules"] == chosen["prepared"] else "; the last tokens differ"
    print(f"{name}, {rows} texts: {times}, {statistics.median(ratios):.2f} times ({shown(ratios)}){same}", flush=True)


def shown(numbers: list[float]) -> str:
    """Numbers of the rounds, two digits each."""
    return ", ".join(f"{number:.2f}" for number in numbers)


def drawn(name: str) -> Any:
    """A language model in the shape of a file in `conf/model`."""
    from langmill.models.base import build_backbone
    from langmill.models.heads import LanguageModel

    described = yaml.safe_load((REPOSITORY / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))
    torch.manual_seed(1)
    network = LanguageModel(build_backbone(described["architecture"], described["options"], VOCABULARY, LENGTH, name))
    for weight in network.parameters():
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return network.eval()


def decoded(network: Any, rows: int) -> tuple[float, list[int]]:
    """Processor time of a step in microseconds, and the last tokens."""
    from langmill.models.generation.slots import Slots

    slots = Slots(network, 0)
    ids = {}
    for row in range(rows):
        slot = slots.begin(list(range(5, 5 + PROMPT + row)), STEPS + 1)
        logits_V = slots.prefill(slot, LENGTH)
        assert logits_V is not None
        ids[slot] = int(logits_V.argmax())
    began = time.process_time()
    for _ in range(STEPS):
        ids = dict(zip(slots.rows, slots.decode(ids).argmax(dim=-1).tolist(), strict=True))
    return 1e6 * (time.process_time() - began) / STEPS, list(ids.values())


def products(rounds: int) -> None:
    """Print the time of products of one and of eight tokens, in microseconds."""
    for out, into in MATRICES:
        weight_OI = torch.randn(out, into)
        for tokens in (1, 8):
            x_NI = torch.randn(tokens, into)
            packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI, tokens)
            ways: dict[str, Callable[[], object]] = {
                "linear": lambda x_NI=x_NI, weight_OI=weight_OI: F.linear(x_NI, weight_OI),
                "left": lambda x_NI=x_NI, weight_OI=weight_OI: torch.mm(weight_OI, x_NI.T).T.contiguous(),
                "packed": lambda x_NI=x_NI, packed=packed: torch.ops.mkldnn._linear_pointwise(
                    x_NI, packed, None, "none", [], ""
                ),
            }
            calls = max(3, 10_000_000 // (out * into * tokens))
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, run in ways.items():
                    began = time.process_time()
                    for _ in range(calls):
                        run()
                    found[way].append(1e6 * (time.process_time() - began) / calls)
            times = ", ".join(f"{way} {statistics.median(each):.0f}" for way, each in found.items())
            print(f"({out}, {into}), {tokens} tokens: {times} us", flush=True)


if __name__ == "__main__":
    main()
