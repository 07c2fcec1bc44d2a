"""`langmill profile`: draw up a corpus's contract from its documents."""

from __future__ import annotations

import click

from langmill.cli.command import command
from langmill.errors import ConfigError, LangmillError
from langmill.workspace import Workspace


@command(example="langmill profile reviews\nlangmill profile reviews --keep-limits")
@click.argument("corpus")
@click.option("--keep-limits", is_flag=True, help="Renew the reference for shift alone; the limits stay as they are.")
def profile(corpus: str, keep_limits: bool) -> None:
    """Draw up a corpus's contract from its documents.

    Writes the section `contract` of conf/corpus/CORPUS.yaml from build/documents/CORPUS, with slack, for a person to
    review: types and missing values, labels, lengths, languages, what cleaning keeps of each source, and the reference
    that shift is measured against. What else stands in the file stays, comments too. An expectation that is null there
    stays left out.
    """
    from langmill.cli.results import in_columns
    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_corpus
    from langmill.config.core_yaml import settings_text
    from langmill.data.contract.base import build_expectations
    from langmill.data.contract.check import check
    from langmill.data.contract.evidence import Evidence
    from langmill.data.contract.infer import infer
    from langmill.data.contract.written import with_contract
    from langmill.files import write_text

    require_workspace()
    workspace = Workspace()
    compose_corpus(corpus)  # refuses a name that is none
    documents, path = workspace.documents(corpus), workspace.settings("corpus", corpus)
    if not documents.is_dir():
        raise LangmillError(
            f"{documents} does not exist; `dvc repro clean@{corpus}` makes the documents that a contract is drawn up "
            "from.",
            "missing",
        )
    evidence = Evidence.of(documents)
    before = settings_text(path)
    write_text(path, with_contract(before, corpus, infer(evidence), keep_limits=keep_limits))
    try:
        contract = compose_corpus(corpus).contract
        expectations = build_expectations(contract, str(path))
    except ConfigError:
        write_text(path, before)
        raise
    results = check(corpus, Evidence(documents, evidence.report, contract.reference), expectations)
    rows = [("expectation", "outcome", "now")]
    for name, those in results.findings.items():
        rows += [(name, finding.outcome.value, finding.sentence) for finding in those]
    click.echo(in_columns(rows))
    limits = "The reference is renewed" if keep_limits else "The contract is written"
    click.echo(f"\n{limits}: {path}. Review its limits; `dvc repro contract@{corpus}` checks them, and trains nothing.")
