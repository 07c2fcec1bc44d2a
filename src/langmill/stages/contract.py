"""Check a corpus's documents against its contract."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from langmill.config.compose import load_section
from langmill.config.sections import Cleaning, Contract
from langmill.data.contract.base import build_expectations
from langmill.data.contract.passed import RESULTS_NAME, write_passed
from langmill.data.report.page import PAGE_NAME, page
from langmill.data.report.step_samples import redaction_of
from langmill.errors import DataError
from langmill.files import atomic_folder, read_manifest, write_json, write_text
from langmill.workspace import Workspace

if TYPE_CHECKING:
    from langmill.data.contract.check import Results

logger = logging.getLogger(__name__)


def main(name: str) -> None:
    """Write build/contracts/NAME, if the documents of build/documents/NAME keep the contract.

    Raises DataError where they don't; every finding is then in .langmill/failed/contract@NAME.
    """
    workspace = Workspace()
    path = workspace.composed_file("corpus", name)
    contract = load_section(Contract, path, "contract")
    documents, failed = workspace.documents(name), workspace.failed(f"contract@{name}")
    expectations = build_expectations(contract, str(path))
    shown = redaction_of(load_section(Cleaning, path, "cleaning"), str(path))
    manifest = read_manifest(documents, verify=False)  # what trains on them checks every byte
    with atomic_folder(workspace.contract(name)) as folder:
        # Only now, since a corpus of which nothing is expected should take no second more.
        from langmill.data.contract.check import check
        from langmill.data.contract.evidence import Evidence

        evidence = Evidence.of(documents, contract.reference, shown)
        results = check(name, evidence, expectations)
        report = page(evidence.report, results.to_json(), contract.reference)
        if not results.passed:
            with atomic_folder(failed) as kept:
                _write_results(kept, results, report)
            sentence = results.breach(str(workspace.settings("corpus", name)))
            raise DataError(
                f"{sentence} Every finding is in {failed / 'results.md'}, and in {PAGE_NAME} there.", "refused"
            )
        _write_results(folder, results, report)
        write_passed(folder, name, manifest)
    shutil.rmtree(failed, ignore_errors=True)
    if note := results.note():
        logger.warning("%s: %s", name, note)
        sys.stdout.write(f"{name} is beyond a soft limit of its contract: {note}.\n")  # for who types `dvc repro`


def _write_results(folder: Path, results: Results, report: str) -> None:
    write_json(folder / RESULTS_NAME, results.to_json())
    write_text(folder / "results.md", results.markdown())
    write_text(folder / PAGE_NAME, report)
