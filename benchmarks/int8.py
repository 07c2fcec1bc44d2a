"""What int8 weights would cost and bring a model on this CPU: docs/decisions/0629-no-int8-weights.md.

    python benchmarks/int8.py build/models/assistant build/documents/assistant/test.parquet
    python benchmarks/int8.py build/models/reviews-lm build/documents/reviews/test.parquet --documents 50

Three ways, with the operations that torch has: `dynamic` rounds inputs too, to seven bits and with one scale for all
tokens of a product (the only safe choice where a processor has no VNNI); `dynamic, 8 bits` the same with eight;
`weights only` keeps inputs in fp32. In each, every linear layer with 2^18 weights or more and the head have one scale a
row. Printed: the mean Kullback-Leibler divergence of the next token's distribution from the fp32 model's, in nats; the
bits per token of the texts; and the processor time of a token's products beside fp32, one token and eight at once.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
LARGE = 2**18
Product = Callable[[Tensor], Tensor]


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a model that writes")
    parser.add_argument("texts", type=Path, help="a split of its corpus")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--length", type=int, default=256, help="tokens of a text, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    from langmill.data.document import read_documents
    from langmill.tasks.loading import load_model

    model = load_model(arguments.model, verify=False)
    documents = itertools.islice(read_documents(arguments.texts), arguments.documents)
    texts = [[model.tokenizer.eot_id, *model.tokenizer.encode(each.text)][: arguments.length] for each in documents]
    with torch.inference_mode():
        matrices = large_matrices(model.network)
        print(f"{model.recipe}: {len(matrices)} large matrices, {sum(w.numel() for w in matrices):,} weights")
        exact = [log_probabilities(model.network, ids) for ids in texts]
        print(f"fp32: {bits(exact, texts):.3f} bits per token")
        for name, of in WAYS.items():
            with replaced(model.network, of):
                found = [log_probabilities(model.network, ids) for ids in texts]
            apart = statistics.fmean(
                float(F.kl_div(ours, theirs, log_target=True, reduction="none").sum(-1).mean())
                for ours, theirs in zip(found, exact, strict=True)
            )
            speeds = [speed(matrices, of, tokens, arguments.rounds) for tokens in (1, 8)]
            times = ", ".join(f"{each:.2f}" for each in speeds)
            print(
                f"{name}: {bits(found, texts):.3f} bits per token, {apart:.4f} nats; speed-up, 1 and 8 tokens: {times}"
            )


def large_matrices(network: nn.Module) -> list[Tensor]:
    """The weights of the linear layers that are replaced, and of the head."""
    layers = [layer for layer in network.modules() if type(layer) is nn.Linear and layer.weight.numel() >= LARGE]
    head: Any = network
    return [*(layer.weight for layer in layers), *([head.head_weight_VD] if head.tied else [])]


def dynamic(weight_OI: Tensor, *, reduced: bool) -> Product:
    """The product with int8 weights and inputs."""
    rounded_OI, scale_O = rounded(weight_OI)
    zeros_O = torch.zeros(len(scale_O), dtype=torch.long)
    quantized = torch._make_per_channel_quantized_tensor(rounded_OI, scale_O.double(), zeros_O, 0)
    packed = torch.ops.quantized.linear_prepack(quantized, None)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, reduced)


def weights_only(weight_OI: Tensor) -> Product:
    """The product with int8 weights and inputs in fp32."""
    rounded_OI, scale_O = rounded(weight_OI)
    return lambda x: torch._weight_int8pack_mm(x.flatten(0, -2), rounded_OI, scale_O).view(*x.shape[:-1], -1)


def rounded(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as whole numbers from -127 to 127, and the scale of each row."""
    scale_O = weight_OI.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    return (weight_OI / scale_O[:, None]).round().to(torch.int8), scale_O


WAYS: dict[str, Callable[[Tensor], Product]] = {
    "dynamic": partial(dynamic, reduced=True),
    "dynamic, 8 bits": partial(dynamic, reduced=False),
    "weights only": weights_only,
}


class replaced:
    """The large layers and the head of a network computed otherwise, while the block lasts."""

    def __init__(self, network: Any, of: Callable[[Tensor], Product]) -> None:
        self._layers = [m for m in network.modules() if type(m) is nn.Linear and m.weight.numel() >= LARGE]
        self._network, self._of = network, of

    def __enter__(self) -> None:
        """Replace them."""
        for layer in self._layers:
            product, bias = self._of(layer.weight), layer.bias
            layer.forward = lambda x, product=product, bias=bias: product(x) if bias is None else product(x) + bias
        if self._network.tied:
            self._network.head = self._of(self._network.head_weight_VD)

    def __exit__(self, *_: object) -> None:
        """Put them back."""
        for layer in self._layers:
            del layer.forward
        self._network.__dict__.pop("head", None)


def log_probabilities(network: nn.Module, ids: list[int]) -> Tensor:
    """Of the next token, after each of a text's."""
    return network(torch.tensor([ids]))[0].float().log_softmax(-1)


def bits(found: list[Tensor], texts: list[list[int]]) -> float:
    """Bits of a token, over all tokens but each text's first."""
    nats = [-each[:-1].gather(1, torch.tensor(ids[1:])[:, None]).sum() for each, ids in zip(found, texts, strict=True)]
    return float(sum(nats)) / sum(len(ids) - 1 for ids in texts) / math.log(2)


def speed(matrices: list[Tensor], of: Callable[[Tensor], Product], tokens: int, rounds: int) -> float:
    """How many times as fast as fp32 all large products are."""
    from langmill.models.functions import product_of_few

    inputs = [torch.randn(tokens, weight.shape[1]) for weight in matrices]
    plain: list[Product] = [partial(product_of_few, weight_OI=weight) for weight in matrices]
    times: list[list[float]] = [[], []]
    for products, taken in zip((plain, [of(weight) for weight in matrices]), times, strict=True):
        for _ in range(rounds + 1):
            began = time.process_time()
            for product, x in zip(products, inputs, strict=True):
                product(x)
            taken.append(time.process_time() - began)
    return statistics.median(times[0][1:]) / statistics.median(times[1][1:])


if __name__ == "__main__":
    main()
