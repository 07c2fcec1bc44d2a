"""The server's engine beside `transformers`, in one run: one stream, eight that come one after the other, labels.

    python benchmarks/serving.py build/models/reviews-lm build/models/sentiment
    python benchmarks/serving.py build/models/assistant --new-tokens 48 --rounds 3 --long-prompt 400
    python benchmarks/serving.py build/models/reviews-lm --requests 10000

Both write from the same folder in fp32, greedily, without stop tokens, and take turns; token ids are compared. Ours
goes through the engine's thread and queue as a streamed request does (no HTTP); theirs is `generate` with its cache
and, where it works, its own continuous batching (`generate_batch`). Streams are staggered: each starts two tokens after
the one before. Between tokens is the time from one chunk of a stream to its next, seen by the event loop. Labels are
asked for by eight clients, one text each at a time, against the bare network with eight of the same texts.

The roof is the memory's bandwidth: a token reads every weight and its keys and values once. It is measured by a sum
over numbers that fit no cache.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
PROMPT = 16
STREAMS = 8
STAGGER = 2  # tokens


@dataclasses.dataclass
class Heard:
    """What came of one run."""

    tokens: list[list[int]]
    seconds: float
    gaps: list[float]
    """Seconds between the tokens of each stream, all streams together."""

    @property
    def rate(self) -> float:
        """Tokens per second of all streams together."""
        return sum(map(len, self.tokens)) / self.seconds

    @property
    def p95(self) -> float:
        """The 95th percentile of the time between two tokens, in ms."""
        return 1000 * sorted(self.gaps)[int(0.95 * len(self.gaps))]


def main() -> None:
    """Parse, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("writer", type=Path, help="the folder of a model that writes")
    parser.add_argument("judge", type=Path, nargs="?", help="the folder of a classifier")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--long-prompt", type=int, default=0, help="tokens of a prompt that comes in between")
    parser.add_argument("--requests", type=int, default=0, help="only count memory over so many requests")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    from langmill.tasks.loading import load_model

    writer = load_model(arguments.writer, verify=False, device=arguments.device)
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{arguments.threads} threads"
    print(f"torch {torch.__version__}, {where}, fp32, {arguments.writer.name}")
    if arguments.requests:
        memory_over(writer, arguments.requests)
        return
    print(f"medians of {arguments.rounds} rounds, interleaved\n")
    writing(writer, arguments)
    if arguments.judge is not None:
        labelling(load_model(arguments.judge, verify=False, device=arguments.device), arguments.rounds)


# Writing -------------------------------------------------------------------------------------------------------------


def writing(writer: Any, arguments: argparse.Namespace) -> None:
    """Measure one stream, eight, and eight beside a long prompt, each beside `transformers`."""
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(arguments.writer, dtype=torch.float32)
    theirs = theirs.eval().to(arguments.device)
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(5, theirs.config.vocab_size, (STREAMS, PROMPT), generator=generator)
    count = arguments.new_tokens
    found: dict[str, list[Heard]] = {}
    with engine() as running:
        runs: dict[str, Callable[[], Heard]] = {
            "generate, one": lambda: generated(theirs, prompts[:1], count),
            "one": lambda: streamed(running, writer, prompts[:1], count),
            "one, exact": lambda: streamed(running, writer, prompts[:1], count, exact=True),
            "generate, eight": lambda: generated(theirs, prompts, count),
            "eight, staggered": lambda: streamed(running, writer, prompts, count),
            "eight, at once": lambda: streamed(running, writer, prompts, count, stagger=0),
        }
        if arguments.long_prompt:
            long = torch.randint(5, theirs.config.vocab_size, (arguments.long_prompt,), generator=generator).tolist()
            runs["eight, staggered, and a long prompt"] = lambda: streamed(running, writer, prompts, count, long=long)
        if batches_continuously(theirs, prompts):
            runs["generate_batch, eight"] = lambda: generated_continuously(theirs, prompts, count)
        for name, run in runs.items():
            found[name] = [run()]  # the first allocates
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                found[name].append(run())
    for name, heard in found.items():
        reference = found["generate, one" if len(heard[0].tokens) == 1 else "generate, eight"]
        differ = sum(one != other for one, other in zip(heard[0].tokens, reference[0].tokens, strict=True))
        ratios = [one.rate / other.rate for one, other in zip(heard[1:], reference[1:], strict=True)]
        rate = statistics.median(each.rate for each in heard[1:])
        line = f"{name}: {rate:.1f} tokens/s, {statistics.median(ratios):.2f} of `generate` ({shown(ratios)})"
        gaps = [each.p95 for each in heard[1:] if each.gaps]
        line += f"; between tokens p95 {statistics.median(gaps):.1f} ms" if gaps else ""
        print(line + (f"; {differ} texts differ" if differ else ""))
    lone = statistics.median(each.p95 for each in found["one"][1:])
    crowd = statistics.median(each.p95 for each in found["eight, staggered"][1:])
    print(f"p95 between tokens, eight over one: {crowd / lone:.2f}")
    roof(writer, {name: found[name] for name in ("one", "eight, at once")}, count)


def shown(numbers: list[float]) -> str:
    """Numbers of the rounds, two digits each."""
    return ", ".join(f"{number:.2f}" for number in numbers)


@contextmanager
def engine() -> Iterator[Any]:
    """An engine as the server's default settings make it."""
    from langmill.config.compose import compose_serving
    from langmill.serving.engine import Engine
    from langmill.serving.metrics import Metrics

    settings = compose_serving(conf=REPOSITORY / "conf")
    made = Engine.of(dataclasses.replace(settings, max_running=2 * STREAMS), Metrics())
    made.start()
    yield made
    made.stop()


def version(model: Any) -> Any:
    """A loaded version; one for each model, since the engine keeps memory for it."""
    from langmill.serving.jobs import LoadedVersion

    if id(model) not in _VERSIONS:
        _VERSIONS[id(model)] = LoadedVersion(model.recipe, 1, model, 16)
    return _VERSIONS[id(model)]


_VERSIONS: dict[int, Any] = {}


def streamed(
    running: Any, model: Any, prompts: torch.Tensor, count: int, *, exact: bool = False, stagger: int = STAGGER,
    long: list[int] | None = None,
) -> Heard:  # fmt: skip
    """Let the engine continue prompts, one stream each; a long prompt comes when half of the first text is there."""
    from langmill.models.generation.config import Sampling
    from langmill.serving.generation import Completion

    def job(prompt: list[int], tokens: int) -> Completion:
        return Completion(
            version(model), model.task, prompt_ids=prompt, decoding=Sampling(tokens), stop=(), streamed=True,
            exact=exact, logprobs=None,
        )  # fmt: skip

    jobs = [job(prompt, count) for prompt in prompts.tolist()]
    tokens: list[list[int]] = [[] for _ in jobs]
    for each, ids in zip(jobs, tokens, strict=True):
        note(each, ids)
    gaps: list[float] = []

    async def listen(number: int, started: list[asyncio.Event]) -> None:
        if number:
            await started[number - 1].wait()
        last, came = None, 0
        async for chunk in running.submit(jobs[number]):
            now = time.perf_counter()
            if chunk.ending is None:
                if last is not None:
                    gaps.append(now - last)
                last, came = now, came + 1
            if came >= stagger:
                started[number].set()
            if long is not None and number == 0 and came == count // 2:
                others.append(asyncio.create_task(listen_to_long()))

    async def listen_to_long() -> None:
        async for _ in running.submit(job(long or [], 2)):
            pass

    others: list[asyncio.Task[None]] = []

    async def all_of_them() -> None:
        started = [asyncio.Event() for _ in jobs]
        if not stagger:
            for event in started:
                event.set()
        await asyncio.gather(*(listen(number, started) for number in range(len(jobs))))
        await asyncio.gather(*others)

    began = time.perf_counter()
    asyncio.run(all_of_them())
    return Heard(tokens, time.perf_counter() - began, gaps)


def note(job: Any, ids: list[int]) -> None:
    """Have a job note its token ids, which its chunks do not tell."""
    push = job.push

    def noting(token: Any) -> Any:
        ids.append(token.id)
        return push(token)

    job.push = noting


def generated(network: Any, prompts: torch.Tensor, count: int) -> Heard:
    """Let `transformers` continue prompts."""
    prompts = prompts.to(network.device)
    began = time.perf_counter()
    with torch.inference_mode():
        ids_BT = network.generate(
            input_ids=prompts, attention_mask=torch.ones_like(prompts), do_sample=False, max_new_tokens=count,
            eos_token_id=None, pad_token_id=0,
        )  # fmt: skip
    return Heard(ids_BT[:, prompts.shape[1] :].tolist(), time.perf_counter() - began, [])


def batches_continuously(network: Any, prompts: torch.Tensor) -> bool:
    """Whether the continuous batching of `transformers` works here."""
    try:
        generated_continuously(network, prompts[:2], 2)
    except Exception as error:
        print(f"transformers' continuous batching does not work here: {type(error).__name__}: {error}\n")
        return False
    return True


def generated_continuously(network: Any, prompts: torch.Tensor, count: int) -> Heard:
    """Let `transformers` continue prompts by its own continuous batching."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    config = GenerationConfig(do_sample=False, max_new_tokens=count, eos_token_id=-1, pad_token_id=0)
    own = ContinuousBatchingConfig(num_blocks=32, max_batch_tokens=512, page_size=64)
    began = time.perf_counter()
    outputs = network.generate_batch(
        prompts.tolist(), generation_config=config, continuous_batching_config=own, progress_bar=False, warmup=False
    )
    seconds = time.perf_counter() - began
    texts = [output.generated_tokens for output in outputs.values()]
    if any(len(text) != count for text in texts) or len(texts) != len(prompts):
        raise RuntimeError(f"gave {[len(text) for text in texts]} tokens")
    return Heard(texts, seconds, [])


def roof(model: Any, found: dict[str, list[Heard]], count: int) -> None:
    """Print the bytes that decoding reads in a second, and what a sum over much memory reads."""
    network = model.network
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    numbers = torch.ones(2**27, device=next(network.parameters()).device)  # 512 MB
    times = []
    for _ in range(5):
        began = time.perf_counter()
        numbers.sum().item()  # a card's sum is waited for
        times.append(time.perf_counter() - began)
    bandwidth = numbers.numel() * 4 / statistics.median(times)
    print(f"a sum reads {bandwidth / 1e9:.1f} GB/s; the weights are {weights / 1e6:.1f} MB")
    token_bytes = network.model.new_cache(1, 1).token_bytes if network.joins else 0
    for name, heard in found.items():
        streams = len(heard[0].tokens)
        steps = count + 1
        cached = streams * token_bytes * sum(range(PROMPT, PROMPT + steps))
        rate = (weights * steps + cached) / statistics.median(each.seconds for each in heard[1:])
        print(f"{name}: reads {rate / 1e9:.1f} GB/s of weights and cache, {rate / bandwidth:.2f} of that")


# Labels --------------------------------------------------------------------------------------------------------------


def labelling(judge: Any, rounds: int) -> None:
    """Measure eight clients that each ask for one text's label at a time, and a bare forward pass of eight texts."""
    from langmill.serving.routes.classify import Classification

    words = "the film was good bad and not very story plot of a it in scene with for actors never again".split()  # noqa: SIM905
    generator = torch.Generator().manual_seed(1)
    texts = [
        " ".join(words[index] for index in torch.randint(len(words), (60,), generator=generator).tolist())
        for _ in range(STREAMS)
    ]
    each = 40

    def bare() -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            for _ in range(each):
                judge.task.probabilities(judge.network, judge.tokenizer, texts)
        return STREAMS * each / (time.perf_counter() - began)

    async def client(text: str) -> None:
        for _ in range(each):
            async for _ in running.submit(Classification(version(judge), judge.task, [text], len(text) // 4)):
                pass

    async def clients() -> None:
        await asyncio.gather(*map(client, texts))

    def asked() -> float:
        began = time.perf_counter()
        asyncio.run(clients())
        return STREAMS * each / (time.perf_counter() - began)

    with engine() as running:
        bare(), asked()
        pairs = [(bare(), asked()) for _ in range(rounds)]
    ratios = [ours / theirs for theirs, ours in pairs]
    rates = [statistics.median(column) for column in zip(*pairs, strict=True)]
    print(
        f"\nlabels ({judge.recipe}): a bare pass of eight texts {rates[0]:.0f} texts/s, eight clients {rates[1]:.0f}:"
    )
    print(f"{statistics.median(ratios):.2f} ({shown(ratios)})")


# Memory --------------------------------------------------------------------------------------------------------------


def memory_over(writer: Any, requests: int) -> None:
    """Print the process's memory as requests of many lengths come and go, and are cancelled now and then."""
    from langmill.models.generation.config import Sampling
    from langmill.serving.generation import Completion

    generator = torch.Generator().manual_seed(1)
    numbers = itertools.count()
    room = writer.max_length // 2

    def drawn(most: int) -> int:
        return int(torch.randint(1, most, (1,), generator=generator))

    async def one() -> None:
        prompt = torch.randint(5, writer.tokenizer.vocab_size, (drawn(room),), generator=generator).tolist()
        job = Completion(
            version(writer), writer.task, prompt_ids=prompt, decoding=Sampling(drawn(24), temperature=1.0), stop=(),
            streamed=True,
        )  # fmt: skip
        stream = running.submit(job)
        leaves = next(numbers) % 10 == 0
        async for _ in stream:
            if leaves:
                stream.cancel()
                return

    async def several(count: int) -> None:
        for _ in range(count // STREAMS):
            await asyncio.gather(*(one() for _ in range(STREAMS)))

    with engine() as running:
        for tenth in range(11):
            if tenth:
                asyncio.run(several(requests // 10))
            gc.collect()
            print(f"after {requests // 10 * tenth} requests: {resident():.1f} MiB")


def resident() -> float:
    """The process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
