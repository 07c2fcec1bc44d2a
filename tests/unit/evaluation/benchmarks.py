"""A small model and three tasks that are the same in every process: what lm-eval said of them is recorded.

    python -m tests.unit.evaluation.benchmarks   # with lm-eval installed: records anew

The weights are NumPy's, whose generator gives the same numbers in every release; the vocabulary is the 256 bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from langmill.evaluation.benchmark import Answering
from langmill.files import write_manifest
from langmill.models.base import build_backbone
from langmill.models.heads import LanguageModel
from langmill.models.huggingface.special_tokens import SpecialTokenTemplate
from langmill.tokenization import tokenizer as langmill_tokenizer

from ..models.pretrained import LORA

ROOT = Path(__file__).parents[3]
RECORDED = Path(__file__).parent / "lm_eval.json"
EOS = "<|endoftext|>"
PAIRS = [
    ("The king speaks", "to his people"), ("A rose is a rose is a", "rose"), ("one two three", "four five"),
    ("Hello", "Hello"), ("A rose is a rose is a", "e33333333333."), ("naïve café", "crème brûlée"), ("aaaa", "a"),
    ("The plot of it", "was good."),
]  # fmt: skip


def write_model(folder: Path) -> None:
    """A Llama of 258 tokens with random weights, as its authors would publish it."""
    config = transformers.LlamaConfig(
        vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=256, bos_token_id=256, eos_token_id=256, pad_token_id=257,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    random = np.random.RandomState(7)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                drawn = random.standard_normal(tuple(parameter.shape)) * (0.5 if "lm_head" in name else 0.2)
                parameter.copy_(torch.from_numpy(drawn))
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={character: number for number, character in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(EOS, special=True), AddedToken("<pad>", special=True)])
    names = {"eos_token": EOS, "bos_token": EOS, "pad_token": "<pad>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    write_manifest(folder, {"recipe": "published", "provenance": "0" * 64})


def answering(folder: Path, length: int = 256) -> Answering:
    """A checkpoint as it came."""
    options = {"kind": "causal", "tuning": "full", "lora": LORA, "config": {}}
    tokenizer = langmill_tokenizer.Tokenizer.load(folder)
    backbone = build_backbone("pretrained", options, tokenizer.vocab_size, length, "test", source=folder)
    network = LanguageModel(backbone)
    backbone.start_from(folder)
    return Answering("small", network.eval(), tokenizer, SpecialTokenTemplate.read(tokenizer.file).prefix)


def write_tasks(folder: Path) -> dict[str, Path]:
    """Our own choices with every metric, answers to be matched after solved ones, and answers to be written."""
    choices = yaml.safe_load((ROOT / "data" / "choices.yaml").read_text())
    names = ("acc", "acc_norm", "acc_bytes", "exact_match")
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in names]
    rows = [{"begin": begin, "end": end} for begin, end in PAIRS]
    for name, some in (("pairs", rows), ("solved", rows[:2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    own = {"dataset_path": "json", "test_split": "test", "doc_to_text": "{{begin}}", "doc_to_target": "{{' ' ~ end}}"}
    data = {"test": str(folder / "pairs.jsonl"), "train": str(folder / "solved.jsonl")}
    tasks: dict[str, dict[str, Any]] = {
        "choices": {
            **choices,
            "dataset_kwargs": {"data_files": {"test": str(ROOT / "data" / "choices.jsonl")}},
            "metric_list": metrics,
        },
        "matched": {
            **own,
            "dataset_kwargs": {"data_files": data},
            "output_type": "loglikelihood",
            "description": "Go on:\n\n",
            "num_fewshot": 2,
            "fewshot_split": "train",
            "fewshot_config": {"sampler": "first_n"},
            "target_delimiter": "",
            "metric_list": [{"metric": "acc"}, {"metric": "perplexity"}],
        },
        "written": {
            **own,
            "doc_to_target": "end",
            "dataset_kwargs": {"data_files": data},
            "output_type": "generate_until",
            "generation_kwargs": {"until": [" ", "\n"], "max_gen_toks": 12, "do_sample": False},
            "metric_list": [{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True}],
        },
    }
    files = {}
    for name, task in tasks.items():
        files[name] = folder / f"{name}.yaml"
        files[name].write_text(yaml.safe_dump({**task, "task": name}, sort_keys=False))
    return files


def by_lm_eval(model: Path, files: dict[str, Path]) -> dict[str, Any]:
    """What lm-eval says: metrics by task, and each answer's log likelihood or text."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(next(iter(files.values())).parent), include_defaults=False)
    arguments = f"pretrained={model},dtype=float32"
    found = lm_eval.simple_evaluate(
        "hf", model_args=arguments, tasks=list(files), task_manager=manager, device="cpu", batch_size=4,
        log_samples=True, bootstrap_iters=0,
    )  # fmt: skip
    told: dict[str, Any] = {}
    for name in files:
        metrics = {key.removesuffix(",none"): value for key, value in found["results"][name].items() if "," in key}
        answers = [sample["resps"] for sample in sorted(found["samples"][name], key=lambda each: each["doc_id"])]
        told[name] = {
            "metrics": {key: value for key, value in metrics.items() if isinstance(value, float | int)},
            "answers": [[_answer(part[0]) for part in each] for each in answers],
        }
    return told


def _answer(said: Any) -> Any:
    return said if isinstance(said, str) else [round(float(said[0]), 6), bool(said[1])]


def main() -> None:
    """Record what lm-eval says, with its version."""
    import lm_eval

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_model(folder / "model")
        (folder / "tasks").mkdir()
        recorded: dict[str, Any] = {"lm_eval": lm_eval.__version__, "tasks": {}}
        recorded["tasks"] = by_lm_eval(folder / "model", write_tasks(folder / "tasks"))
        if len(sys.argv) > 1:  # the folder of a pretrained model: the choices alone
            choices = {"choices": write_tasks(folder / "tasks")["choices"]}
            recorded["smollm2"] = by_lm_eval(Path(sys.argv[1]), choices)["choices"]["metrics"]
    RECORDED.write_text(json.dumps(recorded, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
