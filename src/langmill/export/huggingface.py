"""A checkpoint of Hugging Face with a model card: what `transformers` opens, and so vLLM and the hub."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langmill.errors import ModelError
from langmill.export.base import EXPORTERS, Exporter, VerifiedVersion
from langmill.export.model_card import Opening, write_card
from langmill.files import MANIFEST_NAME
from langmill.models.folder import CONFIG_NAME, HUB_CODE, complete_tokenizer_config, read_config
from langmill.tasks.base import Chats
from langmill.tasks.loading import task_of

_KINDS = {
    "ForCausalLM": ("AutoModelForCausalLM", "text-generation"),
    "LMHeadModel": ("AutoModelForCausalLM", "text-generation"),
    "ForConditionalGeneration": ("AutoModelForSeq2SeqLM", "text2text-generation"),
    "MTModel": ("AutoModelForSeq2SeqLM", "translation"),
    "ForMaskedLM": ("AutoModelForMaskedLM", "fill-mask"),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "text-classification"),
}
"""The class that opens a network, and the hub's name for what it does, by the end of its own class's name."""


@EXPORTERS.register("huggingface")
@EXPORTERS.register("hf")
class HuggingFace(Exporter):
    """The model folder's own files, which have Hugging Face's names, and a card.

    The manifest is written anew over all of them, so Langmill opens the folder as well.
    """

    def write(self, model: VerifiedVersion, into: Path) -> None:
        """Write a checkpoint. Raises ModelError where `transformers` has no class for the network."""
        config = read_config(model.folder)
        if config["architectures"][0].startswith("Langmill") and "auto_map" not in config:
            architecture = config["langmill"]["model"]["architecture"]
            raise ModelError(
                f"{model.version.title} is a {architecture}, which transformers has no class for; take --format onnx "
                "or pt2.",
                "unsupported",
            )
        shutil.copytree(model.folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_NAME))
        complete_tokenizer_config(into, config)
        write_card(into, model, config, opening(config))


def opening(config: Mapping[str, Any]) -> Opening:
    """How `transformers` opens a folder, from the content of its `config.json`."""
    name = config["architectures"][0]
    opener, kind = next((found for end, found in _KINDS.items() if name.endswith(end)), ("AutoModel", None))
    trusted = ", trust_remote_code=True" if "auto_map" in config else ""
    note = (
        f"The network's class is in `{HUB_CODE.name}`, which `transformers` runs only if you say so: it takes the\n"
        "mean of the tokens where the library's own class of that shape takes one of them. It is short: read it.\n"
    ) * bool(trusted)
    code = f"""from transformers import AutoTokenizer, {opener}

tokenizer = AutoTokenizer.from_pretrained(".")
model = {opener}.from_pretrained("."{trusted})
{_answer(opener, config)}"""
    return Opening("transformers", f"{note}\n```python\n{code.strip()}\n```", kind)


def _answer(opener: str, config: Mapping[str, Any]) -> str:
    """The lines that ask a model."""
    asked = 'inputs = tokenizer("The film was", return_tensors="pt", return_token_type_ids=False)\n'
    if opener == "AutoModelForSequenceClassification":
        return asked + "print(model.config.id2label[model(**inputs).logits.argmax().item()])"
    if opener not in ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM"):
        return ""
    if isinstance(task_of(config, CONFIG_NAME)[0], Chats):
        asked = (
            'asked = [{"role": "user", "content": "Hello!"}]\n'
            "inputs = tokenizer.apply_chat_template(\n"
            '    asked, add_generation_prompt=True, return_tensors="pt", return_dict=True\n)\n'
        )
    return asked + "print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))"
