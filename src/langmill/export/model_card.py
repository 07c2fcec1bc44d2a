"""The card of an exported model, in Hugging Face's form: what it is, how good, from what, and how to load it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from langmill.config.compose import available, compose_corpus, compose_pretrained, compose_recipe
from langmill.config.sections import Corpus, Pretrained
from langmill.errors import LangmillError
from langmill.export.base import VerifiedVersion
from langmill.registry.status import baseline
from langmill.registry.trace import source_words
from langmill.registry.versions import Tag

_KINDS = {
    "ForCausalLM": ("AutoModelForCausalLM", "text-generation"),
    "LMHeadModel": ("AutoModelForCausalLM", "text-generation"),
    "ForConditionalGeneration": ("AutoModelForSeq2SeqLM", "text2text-generation"),
    "MTModel": ("AutoModelForSeq2SeqLM", "translation"),
    "ForMaskedLM": ("AutoModelForMaskedLM", "fill-mask"),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", "text-classification"),
}
"""The class that opens a network, and the hub's name for what it does, by the end of its own class's name."""


def model_card(model: VerifiedVersion, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The text of `README.md`, from the version and the content of its `config.json` and `manifest.json`."""
    name = config["architectures"][0]
    opener, kind = next((found for end, found in _KINDS.items() if name.endswith(end)), ("AutoModel", None))
    about = {"library_name": "transformers", **({"pipeline_tag": kind} if kind else {}), "tags": ["langmill"]}
    facts = "\n".join(f"| {label} | {fact} |" for label, fact in _facts(model, config, manifest) if fact)
    trusted = ", trust_remote_code=True" if "auto_map" in config else ""
    note = (
        "\nThe network's class is in `modeling_langmill.py`, which `transformers` runs only if you say so: it takes\n"
        "the mean of the tokens where the library's own class of that shape reads the last one.\n"
    ) * bool(trusted)
    version = model.version
    return f"""---
{yaml.safe_dump(about, sort_keys=False).strip()}
---
# {version.name}, version {version.version}

{model.description}

| | |
|---|---|
{facts}

## Licence

{_licences(manifest)}

## Loading
{note}
```python
from transformers import AutoTokenizer, {opener}

tokenizer = AutoTokenizer.from_pretrained("FOLDER"{trusted})
model = {opener}.from_pretrained("FOLDER"{trusted})
```

`manifest.json` has the SHA-256 of every file. `langmill trace {version.name} {version.version}`, in the workspace that
made it, says how this version came to be.
"""


def _facts(
    model: VerifiedVersion, config: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Iterator[tuple[str, str | None]]:
    version, tags = model.version, model.version.tags
    yield "registered", f"{version.created:%Y-%m-%d %H:%M} UTC"
    yield "provenance", f"`{version.provenance}`"
    yield "weights (SHA-256)", f"`{tags.get(Tag.weights, '')}`"
    yield "run in MLflow", version.run_id
    yield "task", tags.get(Tag.task)
    yield "labels", ", ".join(config["langmill"]["task"]["labels"])
    yield "parameters", f"{int(tags[Tag.parameters]):,}" if Tag.parameters in tags else None
    yield "context length", f"{config['langmill']['max_length']} tokens"
    documents = f", {int(tags[Tag.documents]):,} documents" if Tag.documents in tags else ""
    yield "trained on", f"{manifest['corpus']['name']}{documents}"
    yield "fine-tuned from", manifest["base"]["recipe"] if manifest.get("base") else None
    if pretrained := manifest.get("pretrained"):
        yield "which began as", f"{pretrained['name']}: {source_words(pretrained['source'])}"
    if Tag.value in tags:
        value, low, high = (f"{float(tags[tag]):.4g}" for tag in (Tag.value, Tag.low, Tag.high))
        judged = f"{tags[Tag.judged]} test documents" if Tag.judged in tags else "the test documents"
        yield tags[Tag.metric], f"{value} [{low}, {high}] on {judged}"
    for label, tag in (
        ("trivial baseline", Tag.trivial),
        ("strong baseline", Tag.strong),
        ("base as it came", Tag.base),
    ):
        yield label, baseline(version, tag) if tag in tags else None


def _licences(manifest: Mapping[str, Any]) -> str:
    """What the settings of this workspace say of the data, and the model of what it was fine-tuned from.

    Models that are older than the entry `pretrained` of the manifest have the settings say that, too.
    """
    corpus, base = str(manifest["corpus"]["name"]), (manifest.get("base") or {}).get("recipe")
    lines = [f"The data ({corpus}): {_licence(compose_corpus, corpus)}."]
    pretrained = manifest.get("pretrained") or {}
    if pretrained.get("licence"):
        lines.append(f"The pretrained model ({pretrained['name']}): {pretrained['licence']}.")
    elif base in available("pretrained"):
        lines.append(f"The pretrained model ({base}): {_licence(compose_pretrained, base)}.")
    if base and base not in (pretrained.get("name"), *available("pretrained")):
        lines.append(f"What was fine-tuned ({base}): {_licence(lambda name: compose_recipe(name).corpus, base)}.")
    return "\n".join(lines)


def _licence(compose: Callable[[str], Corpus | Pretrained], name: str) -> str:
    try:
        return compose(name).licence
    except LangmillError:  # a version that another workspace registered
        return "not stated in the workspace that exported it"
