"""The versions of a corpus, and the page that says what the last one changed.

A stage's bytes depend on its inputs alone, so no stage can say what was there before. The flow can: it keeps of each
corpus the last versions whose contract was kept, in .langmill/versions/, and writes the data report anew with the
difference (decision 0331). The documents of earlier versions come out of DVC's cache.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langmill.config.compose import compose_corpus
from langmill.config.sections import Corpus
from langmill.data.contract.passed import RESULTS_NAME, documents_digest, passed_documents
from langmill.data.difference import compare_versions
from langmill.data.document import REPORT_NAME
from langmill.data.report.page import PAGE_NAME, page
from langmill.data.report.step_samples import redaction_of
from langmill.errors import GraphError, LangmillError
from langmill.files import (
    MANIFEST_NAME,
    digest_of,
    read_json,
    read_manifest,
    sha256_file,
    temporary_folder,
    write_json,
    write_text,
)
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.graph.outputs import Outputs

_NOTES_NAME = "versions.json"
_FIRST = "No earlier version of these documents is known in this workspace."


def version_at(outputs: Outputs, corpus: str, revision: str, into: Path, *, fetch: bool = True) -> Path:
    """The documents as of a Git revision, in a folder of links into DVC's cache.

    Raises as `Outputs.link`, and GraphError where the revision has none.
    """
    path, noted = str(Workspace().documents(corpus)), outputs.noted(revision)
    if path not in noted:
        raise GraphError(f"dvc.lock at {revision} notes no {path}: the corpus was not cleaned by then.", "missing")
    return outputs.link(noted[path], into, fetch=fetch)


def naming_field(corpus: Corpus) -> str | None:
    """The metadata field that names a document in its source; None where there is none."""
    return "id" if "id" in corpus.fields.metadata else None


def difference(corpus: Corpus, before: Path, after: Path, key: str | None, temporary: Path) -> dict[str, Any]:
    """What `compare_versions` finds, as plain values, with no personal data that the corpus's cleaning takes out."""
    shown = redaction_of(corpus.cleaning, str(Workspace().settings("corpus", corpus.name)))
    return compare_versions(before, after, key, temporary, shown).to_json()


def report_of(
    documents: Path, contract: Path | None, corpus: Corpus | None = None, changes: dict[str, Any] | None = None
) -> str:
    """Render the data report of a version.

    Args:
        documents: The folder of its documents.
        contract: What its contract found, results.json; None where it was not asked.
        corpus: The settings that hold what the documents were reviewed as; None of another time's version.
        changes: As of `page`.
    """
    results = None if contract is None else read_json(contract)
    reference = None if corpus is None else corpus.contract.reference
    return page(read_json(documents / REPORT_NAME), results, reference, changes)


def write_version_report(name: str) -> Path | None:
    """Write the page of the documents that lie in the workspace, with the difference to the version before them.

    What was compared once is not compared again. None where there are no documents.

    Raises:
        LangmillError: The documents, what DVC notes of them or the settings can't be read.
    """
    workspace = Workspace()
    documents, folder = workspace.documents(name), workspace.versions(name)
    if not (documents / REPORT_NAME).is_file():
        return None
    corpus, digest = compose_corpus(name), _digest(documents)
    notes = _notes(folder)
    if notes.get("of") != digest:
        notes |= {"of": digest, "changes": _changes(corpus, digest, notes["versions"])}
    passed = passed_documents(workspace.contract(name)) == digest
    if passed and [each["documents"] for each in notes["versions"][-1:]] != [digest]:
        notes["versions"] = [*notes["versions"], *_noted_now(name, digest)][-2:]
    write_text(folder / PAGE_NAME, report_of(documents, results_of(name), corpus, notes["changes"]))
    write_json(folder / _NOTES_NAME, {**notes, "page_of": _page_of(name)})
    return folder / PAGE_NAME


def current_report(name: str) -> Path:
    """The page of the documents that lie in the workspace: with the last difference, or else the contract stage's."""
    workspace = Workspace()
    written = workspace.versions(name) / PAGE_NAME
    if written.is_file() and _notes(written.parent).get("page_of") == _page_of(name):
        return written
    return workspace.data_report(name)


def changes_in_words(name: str) -> str:
    """How many documents the last version added, removed and changed, in a sentence; "" where that is not known."""
    changes = _notes(Workspace().versions(name))["changes"]
    if not changes or changes.get("problem"):
        return ""
    told = ", ".join(f"{changes['counts'][kind]:,} {kind}" for kind in ("added", "removed", "changed"))
    return f"Since {changes['before']}: {told}."


def _changes(corpus: Corpus, digest: str, versions: list[dict[str, str]]) -> dict[str, Any]:
    """The difference of the documents in the workspace to the version before them, or why there is none."""
    from langmill.graph.outputs import Output, Outputs

    after = Workspace().documents(corpus.name)
    with temporary_folder() as temporary:
        outputs, before, named = Outputs(), None, ""
        earlier = [each for each in versions if each["documents"] != digest]
        for each in earlier[-1:]:
            named = each["name"]
            try:
                before = outputs.link(
                    Output(str(after), f"clean@{corpus.name}", each["oid"]), temporary / "before", fetch=False
                )
            except GraphError:
                return {"problem": f"The documents of {named} are no longer in DVC's cache, so nothing is compared."}
        if not earlier:
            for revision, day in outputs.history():
                try:
                    found = version_at(outputs, corpus.name, revision, temporary / revision, fetch=False)
                    if _digest(found) != digest:
                        before, named = found, f"the documents of {day}, commit {revision[:8]}"
                        break
                except LangmillError:  # not cleaned by then, or cleaned elsewhere
                    continue
        if before is None:
            return {"problem": _FIRST}
        return {"before": named, **difference(corpus, before, after, naming_field(corpus), temporary)}


def _noted_now(name: str, digest: str) -> list[dict[str, str]]:
    """The version that lies in the workspace; none where DVC did not make it."""
    from langmill.graph.outputs import Outputs

    path = str(Workspace().documents(name))
    noted = Outputs().noted().get(path)
    day = time.strftime("%Y-%m-%d %H:%M")
    return [] if noted is None else [{"documents": digest, "oid": noted.oid, "name": f"the documents of {day}"}]


def _notes(folder: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"versions": [], "changes": None}
    path = folder / _NOTES_NAME
    return {**empty, **read_json(path)} if path.is_file() else empty


def _digest(documents: Path) -> str:
    return documents_digest(read_manifest(documents, verify=False))


def results_of(name: str) -> Path | None:
    """What the contract of the documents in the workspace found; None where it was not asked yet."""
    workspace = Workspace()
    documents = workspace.documents(name)
    if passed_documents(workspace.contract(name)) == _digest(documents):
        return workspace.contract(name) / RESULTS_NAME
    broken = workspace.failed(f"contract@{name}") / RESULTS_NAME
    made = documents / MANIFEST_NAME
    return broken if broken.is_file() and broken.stat().st_mtime >= made.stat().st_mtime else None


def _page_of(name: str) -> str:
    """A digest of what the page says of the documents and of their contract."""
    results, made = results_of(name), Workspace().documents(name) / MANIFEST_NAME
    return digest_of([sha256_file(path) if path is not None and path.is_file() else None for path in (made, results)])
