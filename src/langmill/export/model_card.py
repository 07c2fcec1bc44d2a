"""The card of an exported model, in Hugging Face's form: what it is, how good, of what, its limits, how to open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from langmill.config.compose import available, compose_corpus, compose_pretrained, compose_recipe
from langmill.config.sections import Corpus, Pretrained
from langmill.errors import LangmillError
from langmill.export.base import VerifiedVersion
from langmill.files import read_manifest, write_manifest, write_text
from langmill.models.folder import CONFIG_NAME
from langmill.registry.status import baseline
from langmill.registry.trace import source_words
from langmill.registry.versions import Tag
from langmill.tasks.base import Classifies, Generates
from langmill.tasks.loading import task_of


@dataclass(frozen=True)
class Opening:
    """How the files of a format are opened."""

    library: str
    """The hub's name of the library that opens them."""
    text: str
    """What the card says of it, in Markdown: the code that opens them."""
    kind: str | None = None
    """The hub's name for what the model does, where the library goes by it."""


def write_card(into: Path, model: VerifiedVersion, config: Mapping[str, Any], opening: Opening) -> None:
    """Write `README.md`, and a manifest over all files in a folder with the facts of the version's own.

    `config` is the content of the model's `config.json`.
    """
    manifest = read_manifest(model.folder, verify=False)
    write_text(into / "README.md", model_card(model, config, manifest, opening))
    write_manifest(into, {name: fact for name, fact in manifest.items() if name != "files"})


def model_card(model: VerifiedVersion, config: Mapping[str, Any], manifest: Mapping[str, Any], opening: Opening) -> str:
    """The text of `README.md`, from the version and the content of its `config.json` and `manifest.json`."""
    kind = {"pipeline_tag": opening.kind} if opening.kind else {}
    about: dict[str, object] = {"library_name": opening.library, **kind, "tags": ["langmill"]}
    facts = "\n".join(f"| {label} | {fact} |" for label, fact in _facts(model, config, manifest) if fact)
    limits = "\n".join(f"- {sentence}" for sentence in _limits(config))
    version = model.version
    return f"""---
{yaml.safe_dump(about, sort_keys=False).strip()}
---
# {version.name}, version {version.version}

{model.description}

| | |
|---|---|
{facts}

## What it can't do

{limits}

## Licence

{_licences(manifest)}

## Loading

In this folder (elsewhere, put its path before the names):

{opening.text.strip()}

`manifest.json` has the SHA-256 of every file. `langmill trace {version.name} {version.version}`, in the workspace that
made it, says how this version came to be.
"""


def _limits(config: Mapping[str, Any]) -> Iterator[str]:
    """What nobody should expect of a model, in sentences."""
    length, (task, _) = config["langmill"]["max_length"], task_of(config, CONFIG_NAME)
    if isinstance(task, Classifies):
        yield f"It reads the first {length} tokens of a text; the rest has no influence."
        yield (
            f"Every text gets one of {', '.join(task.labels)}, also one that is none of them. The probabilities are "
            "the network's own: a high one is not a promise."
        )
    elif not isinstance(task, Generates):
        yield f"It says which tokens may fill a gap in a text of up to {length} tokens; it answers nothing by itself."
    elif config.get("is_encoder_decoder"):
        yield f"It reads and writes up to {length} tokens at a time; a longer text has to be taken apart."
        yield "It can leave out, add or change what the source says, in fluent words: have somebody read what matters."
    else:
        yield f"It sees up to {length} tokens, prompt and answer together; what is longer has to be shortened."
        yield "It writes what is likely after texts like those it learned from; that may be false, offensive or copied."
    yield "It knows the kind of text that it was trained on, in that language; the metrics hold for such texts alone."


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
        better = f"; {tags[Tag.better]} is better" if Tag.better in tags else ""
        yield tags[Tag.metric], f"{value} [{low}, {high}] on {judged}{better}"
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
