"""What a flow run leaves to read in Prefect's pages: data reports, the table of metrics, verdicts and links."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from langmill.config.sections import Operation, Recipe
from langmill.data import versions
from langmill.data.document import REPORT_NAME
from langmill.data.report.markdown import summary
from langmill.data.report.page import PAGE_NAME
from langmill.errors import LangmillError, without_passwords
from langmill.evaluation.runlog import DATA_ARTIFACTS
from langmill.files import read_json, read_manifest
from langmill.registry.outcomes import read_row
from langmill.tracking.events import EVENTS_NAME
from langmill.tracking.pages import model_path
from langmill.tracking.run_log import RunLog
from langmill.tracking.shipping import ship
from langmill.workspace import Workspace

logger = logging.getLogger("langmill.flow")


def publish(recipes: Sequence[Recipe], results: Mapping[str, Any], operation: Operation) -> None:
    """Create the artifacts of what this run has; what failed has none. `results` are the flow's, by step."""
    for corpus in dict.fromkeys(recipe.corpus.name for recipe in recipes):
        write_version_report(corpus)
        _data_report(corpus)
    for recipe in recipes:
        if f"register {recipe.name}" in results:  # so its evaluation is of these documents
            _log_data_report(recipe, operation)
    for recipe in recipes:
        path = Workspace().evaluation(recipe.name) / "report.md"
        _markdown(f"model-{recipe.name}", path, f"How good {recipe.name} is")
        verdict = results.get(f"gate {recipe.name}")
        if verdict is not None:
            create_markdown_artifact(
                verdict.markdown(),
                key=_key(f"verdict-{recipe.name}"),
                description=f"What the gate said of {recipe.name}",
            )
    rows = [row for recipe in recipes if (row := read_row(recipe.name)) is not None]
    if rows:
        create_table_artifact(
            [
                {
                    "recipe": row.recipe,
                    "metric": row.metric,
                    **row.estimate.to_json(),
                    "trivial baseline": row.baseline,
                    "strong baseline": row.strong,
                    "verdict": row.verdict,
                    "version": row.version,
                }
                for row in rows
            ],
            key="metrics",
            description="The metric that decides, with its interval, on the test split",
        )
    address = operation.tracking_uri
    if not address.startswith("http"):
        address = f"http://127.0.0.1:{operation.mlflow_port}"  # the pages of `langmill ui`
    for recipe in recipes:
        create_link_artifact(
            f"{without_passwords(address)}{model_path(recipe.name)}",
            link_text=f"{recipe.name} in MLflow",
            key=_key(f"mlflow-{recipe.name}"),
            description="Versions and runs (`langmill ui` opens the pages)",
        )


def write_version_report(corpus: str) -> None:
    """Write the page that tells the difference to the last version; what can't be told goes to the log alone."""
    try:
        versions.write_version_report(corpus)
    except (LangmillError, OSError):
        logger.warning("the difference of %s to its last version can't be told", corpus, exc_info=True)


def _log_data_report(recipe: Recipe, operation: Operation) -> None:
    """Put the page of the model's documents into its run in MLflow, in place of the one without the difference."""
    try:
        folder = Workspace().run(read_manifest(Workspace().model(recipe.name), verify=False)["provenance"])
        page = versions.current_report(recipe.corpus.name)
        if page.is_file() and (folder / EVENTS_NAME).is_file():
            RunLog(folder).artifact(page, DATA_ARTIFACTS)
            ship(folder, operation.tracking_uri)
    except (LangmillError, OSError):
        logger.warning("the data report of %s is not in MLflow", recipe.name, exc_info=True)


def _data_report(corpus: str) -> None:
    """What came into a corpus and what was kept, and where the page with all of it is."""
    folder, page = Workspace().documents(corpus), versions.current_report(corpus)
    if (folder / REPORT_NAME).is_file():
        create_markdown_artifact(
            summary(
                read_json(folder / REPORT_NAME),
                page if page.is_file() else folder / PAGE_NAME,
                versions.changes_in_words(corpus),
            ),
            key=_key(f"data-{corpus}"),
            description=f"What became of the corpus {corpus}",
        )


def _markdown(key: str, path: Path, description: str) -> None:
    if path.is_file():
        create_markdown_artifact(path.read_text(encoding="utf-8"), key=_key(key), description=description)


def _key(name: str) -> str:
    """Prefect takes lower-case letters, digits and dashes in a key."""
    return "".join(character if character.isalnum() else "-" for character in name.lower())
