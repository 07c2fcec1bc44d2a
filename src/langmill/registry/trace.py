"""The lineage of a version: from the service back to the bytes it came from, each digest checked where it can be.

What is said of a check:

- *verified*: the bytes are here and have the digest that the version promises;
- *changed since*: something of that name is here, but it is not what the version was made from;
- *damaged*: the bytes should be these and are not;
- *not available*: there is nothing here to check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import langmill
from langmill.config.compose import load_section
from langmill.config.sections import Recipe
from langmill.data.contract.passed import documents_digest
from langmill.data.document import Split, documents_path, read_documents
from langmill.errors import IntegrityError, LangmillError
from langmill.evaluation.folder import EvaluationFolder
from langmill.files import digest_of, read_manifest, temporary_folder
from langmill.models.folder import TOKENIZER_NAME, WEIGHTS_NAME, tokenizer_digest
from langmill.registry.ledger import STOPPED, Entry
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Verdict
from langmill.registry.versions import ModelVersion, State, Tag
from langmill.tokenization.companion import Companion
from langmill.training import provenance
from langmill.workspace import Workspace

_SHORT = 12  # hexadecimal digits of a digest that are shown


class Check(StrEnum):
    """What a look at the bytes said."""

    none = ""
    verified = "verified"
    changed = "changed since"
    damaged = "damaged"
    absent = "not available"


@dataclass(frozen=True)
class Fact:
    """One line of the lineage."""

    name: str
    text: str
    check: Check = Check.none


@dataclass(frozen=True)
class Lineage:
    """A version's lineage, latest first; `base` is that of the model it was fine-tuned from."""

    title: str
    facts: tuple[Fact, ...]
    base: Lineage | None

    @property
    def damage(self) -> tuple[str, ...]:
        """What is damaged, a sentence each; that of the base included. Empty where all that was looked at is sound."""
        own = tuple(f"{fact.name} of {self.title}: {fact.text}" for fact in self.facts if fact.check is Check.damaged)
        return own if self.base is None else own + self.base.damage

    def text(self) -> str:
        """The lineage to read: one line a fact, with what a look at the bytes said at its end."""
        width = max(len(fact.name) for fact in self.facts)
        lines = [self.title]
        for fact in self.facts:
            check = f"  ({fact.check.value})" if fact.check else ""
            lines.append(f"  {fact.name:<{width}}  {fact.text}{check}")
        text = "\n".join(lines)
        return f"{text}\n\nfine-tuned from {self.base.text()}" if self.base else text


def trace(tracking_uri: str, name: str, version: int) -> Lineage:
    """Find out a version's lineage. The current folder is the workspace whose files are compared."""
    registry = ModelRegistry(tracking_uri)
    found = registry.version(name, version)
    with temporary_folder() as temporary:
        facts = [*_in_the_registry(registry, found)]
        model, model_facts = _model(registry, found, temporary / "model")
        tokenizer = "" if model is None else _tokenizer(temporary / "model", model)
        facts += [*_evaluation(registry, found, temporary / "evaluation"), *model_facts]
    base = None
    if model is not None:
        facts += _origins(model, tokenizer)
        base = _base(registry, model)
    aliases = f", {' and '.join(found.aliases)}" if found.aliases else ""
    return Lineage(f"{found.title}{aliases}", tuple(facts), base)


def _in_the_registry(registry: ModelRegistry, version: ModelVersion) -> Iterator[Fact]:
    yield from _ledger(registry, version.name)
    for entry in reversed(registry.ledger.entries(version.name)):
        if entry.event == "done" and version.version in (entry.source, entry.target):
            yield Fact("service", _move(entry, version.version))
        elif entry.event == STOPPED and version.version == entry.target:
            yield Fact("trial", f"{entry.when[:16].replace('T', ' ')} UTC taken from live traffic: {entry.reason}")
    verdict = Verdict.of(version)
    yield Fact("gate", "not asked yet" if verdict is None else f"{verdict.outcome}: {verdict.sentence}")
    reason = version.tags.get(Tag.reason)
    sentences = {
        State.registered: "not done yet" if reason is None else f"could not be decided yet: {reason}",
        State.validated: f"loads and answers; {version.tags.get(Tag.latency, '?')} ms for the example",
        State.rejected: f"failed: {reason or 'no reason noted'}",
    }
    yield Fact("validation", sentences[version.state])
    yield Fact("registered", f"{version.created:%Y-%m-%d %H:%M} UTC")
    yield Fact("run", f"{version.run_id} in MLflow" if version.run_id else "none noted")


def _ledger(registry: ModelRegistry, name: str) -> Iterator[Fact]:
    """Whether what the ledger says of the service can be believed."""
    entries, record = registry.ledger.entries(name), registry.record(name)
    complaint = record.ledger_complaint()
    if complaint is not None:
        yield Fact("ledger", complaint, Check.damaged)
    elif entries:
        chained = sum(entry.digest is not None for entry in entries)
        older = f", {len(entries) - chained} older ones without" if chained < len(entries) else ""
        yield Fact("ledger", f"{chained} entries with a digest{older}", Check.verified if chained else Check.none)
    for entry in entries:
        if entry.restart and entry.event == "begin":
            yield Fact("ledger", f"begun anew {entry.when[:16].replace('T', ' ')} UTC by {entry.who}: {entry.restart}")
    if complaint is None and (other := record.complaint()) is not None:
        yield Fact("service", other)


def _move(entry: Entry, version: int) -> str:
    happened = f"gave way to version {entry.target}"
    if entry.target == version:
        happened = "champion" + (f" in place of version {entry.source}" if entry.source is not None else "")
    forced = "by force, " if entry.forced else ""
    return f"{entry.when[:16].replace('T', ' ')} UTC {happened} ({entry.action}, {forced}{entry.who}): {entry.reason}"


def _evaluation(registry: ModelRegistry, version: ModelVersion, into: Path) -> Iterator[Fact]:
    try:
        folder = registry.download_evaluation(version.name, version.version, into)
        judged = EvaluationFolder.open(folder, verify=False)
    except LangmillError as error:
        yield Fact("evaluation", str(error), _problem(error))
        return
    worth = f"{version.decides[0]} {version.decides[1].short} on " if version.decides else ""
    yield Fact("evaluation", f"{worth}{judged.manifest['examples']:,} documents", Check.verified)
    yield Fact("test set", judged.test_set[:_SHORT], _test_set(judged, version.name))


def _test_set(judged: EvaluationFolder, name: str) -> Check:
    path = documents_path(Workspace().documents(_corpus_of(name)), Split.test)
    if not path.is_file():
        return Check.absent
    same = judged.judged(read_documents(path)).digest == judged.test_set
    return Check.verified if same else Check.changed


def _corpus_of(recipe: str) -> str:
    """The corpus of a model that lies in the workspace; "" if it does not."""
    try:
        return str(read_manifest(Workspace().model(recipe), verify=False)["corpus"]["name"])
    except (LangmillError, KeyError, TypeError):
        return ""


def _model(registry: ModelRegistry, version: ModelVersion, into: Path) -> tuple[dict[str, Any] | None, list[Fact]]:
    """The model's manifest and what is to be said of its files."""
    promised = version.tags.get(Tag.weights, "")
    try:
        manifest = read_manifest(registry.download(version.name, version.version, into), verify=False)
    except LangmillError as error:
        return None, [Fact("model", str(error), _problem(error))]
    same = manifest["files"].get(WEIGHTS_NAME) == promised and manifest.get("provenance") == version.provenance
    weights = Fact("weights", promised[:_SHORT], Check.verified if same else Check.damaged)
    parts, short = manifest.get("parts"), version.provenance[:_SHORT]
    if not isinstance(parts, Mapping):
        return None, [weights, Fact("provenance", f"{short}, its parts are not noted", Check.absent)]
    whole = digest_of(parts) == version.provenance
    return manifest, [weights, Fact("provenance", short, Check.verified if whole else Check.damaged)]


def _tokenizer(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The digest of a model's tokenizer, by what stands in its folder; "" where that can't be read."""
    own = tokenizer_digest(manifest)
    if own == manifest["parts"]["tokenizer"]:
        return own
    try:  # it is of the chat template as well, which stands in the folder too unless the recipe has another one
        return Companion.beside(folder / TOKENIZER_NAME).digest_with(own)
    except LangmillError:
        return ""


def _origins(manifest: Mapping[str, Any], tokenizer: str) -> Iterator[Fact]:
    """What the model was made from, compared with what lies in the workspace; `tokenizer` is its own one's digest."""
    parts, recipe = manifest["parts"], str(manifest["recipe"])
    now = _parts_now(recipe)
    yield Fact("settings", digest_of(parts["settings"])[:_SHORT], _same(now.get("settings"), parts["settings"]))
    own = provenance.code_digests(Path(langmill.__file__).parent)
    for name, digest in sorted(parts["code"].items()):
        yield Fact("code", f"{name} {digest[:_SHORT]}", _same(own.get(name), digest))
    for name, digest in sorted(parts.get("plugins", {}).items()):  # older versions do not say
        yield Fact("plug-in", f"{name} {digest[:_SHORT]}", _same(now.get("plugins", {}).get(name), digest))
    versions = ", ".join(f"{name} {number}" for name, number in sorted(parts["versions"].items()))
    if versions:
        yield Fact("made with", versions)
    check = Check.verified if tokenizer == parts["tokenizer"] else _same(now.get("tokenizer"), parts["tokenizer"])
    yield Fact("tokenizer", parts["tokenizer"][:_SHORT], check)
    yield from _data(parts["data"], recipe, str(manifest["corpus"]["name"]))


def _data(files: Mapping[str, str], recipe: str, corpus: str) -> Iterator[Fact]:
    """The chain from the tokens to the raw bytes, as far as it is in the workspace and fits."""
    wanted: Any = files
    workspace = Workspace()
    chain = (("tokens", workspace.shards(recipe), "documents"), ("documents", workspace.documents(corpus), "raw"))
    for name, folder, upstream in (*chain, ("raw data", workspace.raw(corpus), "")):
        manifest, check = _verified(folder)
        digest = digest_of(wanted) if isinstance(wanted, Mapping) else str(wanted or "")
        if check is Check.verified and manifest is not None and digest:
            known = {digest_of(manifest["files"])}  # of the documents too, where a version is older than contracts
            known |= {documents_digest(manifest)} if name == "documents" else set()
            check = Check.verified if digest in known else Check.changed
        elif check is Check.verified:
            check = Check.none  # what is here may be what it was made from; nothing says so
        yield Fact(name, digest[:_SHORT] if digest else f"what lies in {folder}; the version does not say which", check)
        if check not in (Check.verified, Check.none) or manifest is None:
            return
        wanted = manifest.get(upstream)
        source = manifest.get("source")
        if isinstance(source, Mapping):
            yield Fact("source", f"{corpus}: {source_words(source)}", check)


def source_words(source: Mapping[str, Any]) -> str:
    """What a manifest says of a corpus's or a pretrained model's source, as one line."""
    if "packages" in source:
        words = "; ".join(
            f"package {each['package']} {each['version']}, SHA-256 {str(each['sha256'])[:_SHORT]}"
            for each in source["packages"]
        )
    elif "repository" in source:
        words = f"the Hugging Face hub, {source['repository']} at {str(source['revision'])[:_SHORT]}"
    elif source.get("kind") == "python":
        words = f"the standard library of {source['implementation']} {source['version']}"
    else:
        words = f"local files, {source.get('name', '')}"
    if stored := source.get("gguf"):
        words += f"; {stored['file']}, SHA-256 {str(stored['sha256'])[:_SHORT]}, de-quantised from "
        words += " and ".join(stored["quantizations"])
    return words


def _base(registry: ModelRegistry, manifest: Mapping[str, Any]) -> Lineage | None:
    """The lineage of the model that training started from."""
    base = manifest.get("base")
    if not isinstance(base, Mapping):
        return None
    name, digest = str(base["recipe"]), str(base["provenance"])
    matching = [version for version in registry.versions(name) if version.provenance == digest]
    if matching:
        return trace(registry.tracking_uri, name, matching[-1].version)
    folder = Workspace().model(name)
    found, check = _verified(folder)
    if check is Check.verified and found is not None and found.get("provenance") != digest:
        check = Check.changed
    source = found.get("source") if found is not None else None
    if isinstance(source, Mapping):  # published by others: there is no run and no version
        published = Fact("provenance", digest[:_SHORT], check)
        facts = [published, Fact("source", source_words(source), check)]
        if found is not None and found.get("licence"):
            facts.append(Fact("licence", str(found["licence"]), check))
        return Lineage(f"{name}, a pretrained model", tuple(facts), None)
    fact = Fact("provenance", f"{digest[:_SHORT]}, which is not in this registry", check)
    told = check is Check.verified and found is not None and "parts" in found
    origins = tuple(_origins(found, _tokenizer(folder, found))) if told and found is not None else ()
    return Lineage(name, (fact, *origins), None)


def _verified(folder: Path) -> tuple[dict[str, Any] | None, Check]:
    """A folder's manifest, and whether its bytes are what that promises."""
    if not folder.is_dir():
        return None, Check.absent
    try:
        return read_manifest(folder, verify=True), Check.verified
    except IntegrityError:
        return None, Check.damaged


def _parts_now(name: str) -> Mapping[str, Any]:
    """What the recipe would be trained from, with what lies in the workspace; empty where something is missing."""
    try:
        workspace = Workspace()
        recipe = load_section(Recipe, workspace.composed_file("recipe", name))
        base = workspace.model(recipe.training.base) if recipe.training.base else None
        tokenizer = workspace.tokenizer(recipe.tokenizer.name) / TOKENIZER_NAME
        return provenance.compute_provenance(recipe, workspace.shards(name), tokenizer, base).parts
    except (LangmillError, OSError):
        return {}


def _same(here: Any, promised: Any) -> Check:
    if here is None:
        return Check.absent
    return Check.verified if here == promised else Check.changed


def _problem(error: LangmillError) -> Check:
    return Check.damaged if isinstance(error, IntegrityError) else Check.absent
