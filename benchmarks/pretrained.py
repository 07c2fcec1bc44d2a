"""A pretrained model in Llama's shape on our own decoder, and by `transformers`, in one run: training and decoding.

    python benchmarks/pretrained.py build/models/smollm2
    python benchmarks/pretrained.py build/models/smollm2 --rounds 5 --threads 2 --new-tokens 64
    python benchmarks/pretrained.py build/models/smollm2 --blocks 30 15 10 6 --threads 1

Both start from the same folder, in fp32, and take turns. A training step is forward and backward pass, clip and AdamW
on the same random tokens, of all weights and of an adapter (rank 8 on every layer, by `peft` on both sides);
`transformers` computes its loss by its own head. Decoding is greedy, of one text and of eight, ours by
`generate_batch`, theirs by `generate` with its cache. Losses and token ids are compared: a fast wrong answer does not
count.

`--blocks` measures something else, and that alone: our own step with an adapter in the last so many blocks
(`model.options.lora.last_layers`), on 8 sequences of 140 tokens whose last 14 are learned, as in a chat with short
answers; in processor time, which other jobs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": ["all-linear"]}
LENGTH = 127  # and a first token: 256 of both texts
PROMPT = 16


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="the folder that the stage pretrained wrote")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--blocks", type=int, nargs="+", help="measure an adapter in the last blocks alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    rounds = arguments.rounds
    print(f"torch {torch.__version__}, {arguments.threads} threads, fp32; medians of {rounds} rounds, interleaved\n")
    if arguments.blocks:
        last_blocks(arguments.base, arguments.blocks, rounds)
        return
    _, theirs = models(arguments.base)
    generator = torch.Generator().manual_seed(1)
    vocabulary = theirs.config.vocab_size
    ids_BT = torch.randint(vocabulary, (arguments.batch_size, LENGTH + 1), generator=generator)
    for tuning in ("full", "lora"):
        steps = [step(*model, ids_BT) for model in tuned(arguments.base, tuning)]
        times, losses = interleaved(steps, rounds)
        assert abs(losses[0] - losses[1]) < 1e-3, losses
        report(f"training, {tuning}", [ids_BT[:, 1:].numel() / took for took in times])
        del steps
        gc.collect()
    ours, theirs = models(arguments.base)
    ours.model.prepare_for_inference()
    for count in (1, 8):
        prompts = torch.randint(vocabulary, (count, PROMPT), generator=generator)
        calls = [own_texts(ours, prompts, arguments.new_tokens), their_texts(theirs, prompts, arguments.new_tokens)]
        times, texts = interleaved(calls, rounds)
        assert texts[0] == texts[1], "the texts differ"
        report(f"decoding, {count} at once", [count * arguments.new_tokens / took for took in times])


def last_blocks(base: Path, blocks: list[int], rounds: int) -> None:
    """Measure steps with an adapter in the last blocks; print the tokens of a second of processor time."""
    generator = torch.Generator().manual_seed(1)
    steps = []
    for last_layers in blocks:
        network = own_model(base, "lora", last_layers=last_layers)
        network.model.prepare_for_training(network)
        ids_BT = torch.randint(network.model.vocab_size, (8, 140), generator=generator)

        def loss_of(ids_BT: torch.Tensor, network: Any = network) -> torch.Tensor:
            loss: torch.Tensor = network.cross_entropy(network.model(ids_BT)[:, -14:], ids_BT[:, -14:])
            return loss

        steps.append(step(network.train(), loss_of, ids_BT))
    times, _ = interleaved(steps, rounds, time.process_time)
    for last_layers, took in zip(blocks, times, strict=True):
        print(f"adapter in the last {last_layers:3} blocks: {8 * 140 / took:8.1f} tokens/s", flush=True)


def own_model(base: Path, tuning: str, **lora: int) -> Any:
    """Our network, in evaluation mode."""
    from langmill.models.base import build_backbone
    from langmill.models.heads import LanguageModel

    options = {"kind": "auto", "tuning": tuning, "lora": {**LORA, **lora}, "config": {}, "implementation": "auto"}
    backbone = build_backbone("pretrained", options, 1, 512, "benchmarks", source=base)
    ours = LanguageModel(backbone)
    backbone.start_from(base)
    return ours.eval()


def models(base: Path, tuning: str = "full") -> tuple[Any, Any]:
    """Our network and that of `transformers`, in evaluation mode."""
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return own_model(base, tuning), theirs.eval()


def tuned(base: Path, tuning: str) -> list[tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]]:
    """Both networks, prepared for training, and what computes their loss of token ids."""
    from peft import LoraConfig, get_peft_model

    ours, theirs = models(base, tuning)
    ours.model.prepare_for_training(ours)
    if tuning == "lora":
        layers = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear")
        theirs = get_peft_model(theirs, layers)
    return [
        # As theirs, which reads the last token too and predicts nothing from it.
        (ours.train(), lambda ids_BT: ours.loss(ids_BT, nn.functional.pad(ids_BT[:, 1:], (0, 1), value=-1))),
        (theirs.train(), lambda ids_BT: theirs(input_ids=ids_BT, labels=ids_BT).loss),
    ]


def step(
    network: nn.Module, loss_of: Callable[[torch.Tensor], torch.Tensor], ids_BT: torch.Tensor
) -> Callable[[], float]:
    """A function that makes a training step and returns its loss."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=True)

    def make() -> float:
        optimizer.zero_grad()
        loss = loss_of(ids_BT)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return loss.item()

    return make


def own_texts(network: Any, prompts: torch.Tensor, new_tokens: int) -> Callable[[], list[list[int]]]:
    """A function that has ours continue prompts."""
    from langmill.models.generation.config import Sampling
    from langmill.models.generation.generate import generate_batch

    return lambda: generate_batch(network, prompts.tolist(), [Sampling(new_tokens)] * len(prompts))


def their_texts(network: Any, prompts: torch.Tensor, new_tokens: int) -> Callable[[], list[list[int]]]:
    """A function that has `transformers` continue prompts."""

    def generate() -> list[list[int]]:
        ids_BT = network.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=False,
            max_new_tokens=new_tokens,
            eos_token_id=None,
            pad_token_id=0,
        )
        texts: list[list[int]] = ids_BT[:, prompts.shape[1] :].tolist()
        return texts

    return generate


def interleaved(
    calls: list[Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[list[float], list[Any]]:
    """Seconds of each call, the median of some rounds in turns, and what the first of each returned."""
    first = [call() for call in calls]  # the first allocates
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for number, call in enumerate(calls):
            began = clock()
            call()
            times[number].append(clock() - began)
    return [statistics.median(taken) for taken in times], first


def report(what: str, speeds: list[float]) -> None:
    """Print tokens per second of both, and their ratio."""
    ours, theirs = speeds
    print(f"{what:22} ours {ours:8.1f} tokens/s, transformers {theirs:8.1f}; {ours / theirs:.2f} times", flush=True)


if __name__ == "__main__":
    main()
