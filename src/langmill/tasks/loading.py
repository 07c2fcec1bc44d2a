"""A trained model from its folder, ready to answer."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from langmill.config.moved import split_options
from langmill.config.names import only_a_base
from langmill.errors import LangmillError, ModelError
from langmill.files import MANIFEST_NAME, read_json, read_manifest
from langmill.models.base import ARCHITECTURES, Backbone, Kind, build_backbone
from langmill.models.folder import (
    CONFIG_NAME,
    GENERATION_NAME,
    TOKENIZER_NAME,
    WEIGHTS_NAME,
    Interface,
    load_state,
    load_weights,
    own_names,
    read_config,
)
from langmill.models.generation.config import Beams, GenerationConfig
from langmill.models.undrawn import undrawn
from langmill.tasks.base import TASKS, Generates, Task, build_task
from langmill.tokenization.text_stream import generated_text
from langmill.tokenization.tokenizer import Tokenizer

_NAMED = 10  # texts, in a note


@dataclass(frozen=True)
class LoadedModel:
    """A network with all that is needed to use it."""

    folder: Path
    task: Task
    network: nn.Module
    """In evaluation mode."""
    tokenizer: Tokenizer
    manifest: dict[str, Any]
    config: dict[str, Any]
    """The content of `config.json`."""
    generation_config: GenerationConfig | None = None
    """How it writes where the asker does not say; None for a model that writes nothing."""

    @property
    def recipe(self) -> str:
        """The name of the recipe that made the model."""
        return str(self.config["langmill"]["recipe"])

    @property
    def max_length(self) -> int:
        """Context length in tokens."""
        return int(self.config["langmill"]["max_length"])

    def truncation_note(self, texts: Sequence[str], name: str) -> str:
        """A sentence on the texts that a classifier, called `name`, truncates; empty where there are none."""
        long = [number for number, text in enumerate(texts, 1) if len(self.tokenizer.encode(text)) > self.max_length]
        if not long:
            return ""
        few = ", ".join(map(str, long[:_NAMED])) + (", …" if len(long) > _NAMED else "")
        return (
            f"{name} reads {self.max_length} tokens of a text; {len(long)} of {len(texts)} were longer and truncated, "
            f"as in training: number {few}."
        )

    def generate(self, prompt: str, asked: Mapping[str, float | None], name: str, stop: Sequence[str] = ()) -> str:
        """The whole text that the model, called `name`, writes for a prompt, up to one of the stop texts.

        Raises:
            ModelError: The prompt is too long.
            ConfigError: What is asked does not go together, or more tokens are asked for than fit behind the prompt.
        """
        task, config, tokenizer = self.task, self.generation_config, self.tokenizer
        assert isinstance(task, Generates) and config is not None
        ids = task.prompt_ids(tokenizer, prompt)
        length = None if asked.get("max_new_tokens") is None else "max_new_tokens"
        decoding = task.fit(config.decoding(task.stop_ids(tokenizer), asked), ids, self.max_length, name, length)
        steps: Generator[int | None, None, object] = (
            task.search(self.network, tokenizer, ids, decoding)
            if isinstance(decoding, Beams)
            else task.generate(self.network, ids, decoding)
        )
        return generated_text(steps, tokenizer.decode, stop)

    @property
    def provenance(self) -> str:
        """The digest that ties data, code, settings, run and version together."""
        return str(self.manifest["provenance"])


def load_model(
    folder: Path,
    *,
    verify: bool,
    device: str = "cpu",
    evaluation: Path | None = None,
    with_network: bool = True,
) -> LoadedModel:
    """Load a model folder.

    A folder that is older than an option of its task or architecture lacks it; the class says in `earlier_options` what
    it was made with (docs/decisions/0205).

    Args:
        folder: What `langmill.models.folder.save_model` wrote.
        verify: Check every file's digest against the manifest first.
        device: Where the weights go, in torch's words.
        evaluation: The evaluation's folder of a model that is not packaged; a `generation_config.json` there says how
            the model writes.
        with_network: Whether to build it; without, what is known of the model, for one that runs elsewhere.

    Raises:
        ModelError: The folder is missing, is not a model of Langmill, or its parts do not fit each other.
        IntegrityError: A file differs from the manifest.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no model in {folder}; make it with `langmill run` or `dvc repro`.", code="missing")
    _refuse_untuned(folder)
    manifest = read_manifest(folder, verify=verify)
    config = read_config(folder)
    where = str(folder / CONFIG_NAME)
    task, earlier = task_of(config, where)
    try:
        own = config["langmill"]
        model, max_length, eot_id = own["model"], int(own["max_length"]), int(own["eot_id"])
        vocab_size = int(config["vocab_size"])
        architecture = model["architecture"]
        options = {**ARCHITECTURES.find(architecture, where).earlier_options, **model["options"]}
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{where} lacks {error}, so the model can't be built; make it again.", code="missing"
        ) from error
    tokenizer = Tokenizer.load(folder / TOKENIZER_NAME)
    if tokenizer.vocab_size > vocab_size or tokenizer.eot_id != eot_id:
        raise ModelError(
            f"The tokenizer in {folder} ({tokenizer.vocab_size} entries, end of text {tokenizer.eot_id}) is not "
            f"the one that the model was made with ({vocab_size} entries, end of text {eot_id}); make the model again.",
            code="mismatch",
        )
    generation = _generation_config(folder, evaluation, task, earlier) if isinstance(task, Generates) else None
    if not with_network:
        return LoadedModel(folder, task, nn.Module(), tokenizer, manifest, config, generation)
    with undrawn():
        backbone = build_backbone(architecture, options, vocab_size, max_length, where, source=folder)
        network = task.network(backbone).to(device)
        backbone.prepare_for_inference()
    load_weights(network, own_names(network, load_state(folder, verify=False)), str(folder / WEIGHTS_NAME))
    return LoadedModel(folder, task, network.eval(), tokenizer, manifest, config, generation)


def _refuse_untuned(folder: Path) -> None:
    """Refuse a model of other authors, which no recipe has given a task."""
    try:
        described = read_config(folder)
        manifest = read_manifest(folder, verify=False) if (folder / MANIFEST_NAME).is_file() else None
    except LangmillError:
        return  # what is damaged is said by whoever reads it in earnest
    if "langmill" in described:
        return
    if manifest is None:
        raise ModelError(
            f"{folder} holds a model of other authors; `langmill new pretrained NAME --from {folder}` makes it a base, "
            "which a recipe can tune.",
            code="unsupported",
        )
    if "source" in manifest:
        raise ModelError(only_a_base(str(manifest["recipe"])), code="unsupported")


def task_of(config: Mapping[str, Any], where: str) -> tuple[Task, dict[str, Any]]:
    """The task of a model, and the options of its scorer where the model is so old that they stand among the task's.

    `config` is the content of the model's `config.json`, which messages call `where`.

    Raises:
        ModelError: It does not say.
        ConfigError: The task is unknown or its options are refused.
    """
    try:
        own = config["langmill"]["task"]
        options, scoring = split_options(own["options"])
        options = {**TASKS.find(own["name"], where).earlier_options, **options}
        return build_task(own["name"], options, own["labels"], where), scoring
    except (KeyError, TypeError) as error:
        message = f"{where} lacks {error}, so the model's task is not known; make it again."
        raise ModelError(message, code="missing") from error


def _generation_config(
    folder: Path, evaluation: Path | None, task: Generates, earlier: Mapping[str, Any]
) -> GenerationConfig:
    """How a model writes: as its evaluation says, else its folder, else what it was made with, else its task.

    Raises ModelError where a `generation_config.json` can't be read.
    """
    written = earlier.get("decoding", {})
    for file in (each / GENERATION_NAME for each in (evaluation, folder) if each is not None):
        if file.is_file():
            try:
                said = read_json(file)
                if "keep_placeholders" in written:  # files of that time do not say
                    said.setdefault("keep_placeholders", written["keep_placeholders"])
                return GenerationConfig.from_json(said)
            except LangmillError as error:
                raise ModelError(f"{file}: {error}", code="unreadable") from error
    return GenerationConfig(**written) if "max_new_tokens" in written else task.generation_config


def interface_of(task: Task, backbone: Backbone, max_length: int, tokenizer: Tokenizer) -> Interface:
    """What other programs must know to ask a task's models."""
    if not isinstance(task, Generates):
        return Interface(labels=task.labels, max_length=max_length)
    chat_template = task.chat_template(tokenizer)
    return Interface(
        task.eot_before,
        task.eot_after,
        task.generation_config.to_json(),
        task.labels,
        max_length,
        chat_template,
        tokenizer.token_names if chat_template is not None else {},
        task.stop_ids(tokenizer),
        # A pretrained network that reads both ways puts around a text what its own tokenizer does.
        backbone.special_token_template if backbone.needs_base and backbone.kind is not Kind.causal else None,
    )
