"""Score a champion again under a version's protocol, in a process of its own.

    python -m langmill.registry.rescore JOB.json

The scores go to a folder that is named after what they are of (`Case.rescored`), so that they are made once.
"""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from langmill.config.compose import plain
from langmill.config.sections import Accelerator, Evaluation, Gate
from langmill.config.typed import typed
from langmill.data.document import Document
from langmill.errors import EvaluationError, LangmillError, TransientError, of_exit_code
from langmill.evaluation.folder import write_scores
from langmill.evaluation.scoring import reproducible, usable
from langmill.files import atomic_folder, read_json, temporary_folder, write_json
from langmill.graph.process import Cancelled, run_process
from langmill.lifetime import INTERRUPTED, end_with_parent
from langmill.models.device import use_device
from langmill.progress import track
from langmill.registry.gathering import Case
from langmill.registry.store import ModelRegistry
from langmill.registry.union import Union
from langmill.registry.versions import ModelVersion
from langmill.scoring.base import Scorer
from langmill.scoring.pace import Pace
from langmill.tasks.loading import LoadedModel, load_model


def rescore(case: Case, device: Accelerator, *, log: Path, progress: Path, cancel: threading.Event) -> str:
    """Score the case's champion again in a process of its own (`run_process`): why it could not be; "" if it was.

    Raises:
        Cancelled: `cancel` was set.
        TransientError: What kept it may pass by itself.
    """
    with temporary_folder() as temporary:
        job = {
            "tracking_uri": case.registry.tracking_uri,
            "name": case.version.name,
            "version": case.version.version,
            "gate": plain(case.gate),
            "evaluation": plain(case.evaluation),
            "scores": str(case.scores),
            "documents": str(case.documents),
            "device": device.value,
        }
        write_json(temporary / "job.json", job)
        command = [sys.executable, "-m", "langmill.registry.rescore", str(temporary / "job.json")]
        code, output = run_process(command, root=Path(), log=log, progress=progress, cancel=cancel)
    if cancel.is_set():
        raise Cancelled(f"Scoring the champion of {case.version.name} again was stopped.")
    if code == 0:
        return ""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    sentence = lines[-1] if lines else f"its process ended with code {code}"
    if code < 0:
        sentence = f"its process was killed ({signal.Signals(-code).name}), as a machine without memory does"
    sentence = f"{sentence.rstrip('.')}."
    if of_exit_code(code) is TransientError:
        raise TransientError(sentence, "failed")
    return sentence


def score_again(case: Case, device: str) -> None:
    """Score the champion on the test documents that either model can judge, and the version where it was not yet.

    Raises:
        EvaluationError: The two are of other tasks, or the test documents are not those that the version was judged on.
        IntegrityError: A model's files are damaged.
        RegistryError: A model's files are gone.
    """
    version, champion, challenger, scorer = case.version, case.champion, case.challenger, case.challenger.scorer
    task = scorer.task
    assert champion is not None
    if usable(task, case.judged).digest != challenger.test_set:
        sentence = f"The test documents in {case.documents} are not those that {version.title} was judged on;"
        raise EvaluationError(f"{sentence} run `dvc repro`.", "mismatch")
    with temporary_folder() as temporary:
        old = _load(case, champion, temporary / "champion", device)
        if type(old.task) is not type(task):
            raise EvaluationError(
                f"{champion.title} was made for another task, {old.config['langmill']['task']['name']}; "
                "give the recipe another name, or promote by hand with `langmill promote --force`.",
                "mismatch",
            )
        union = Union.of(task, old.task, case.judged)
        if union.surplus:
            new = _load(case, version, temporary / "version", device)
            surplus = score_version(version, new, scorer, union.surplus, case.evaluation)
            _write(case.rescored_surplus, new, surplus)
        scores = score_version(champion, old, scorer.with_task(old.task), union.documents, case.evaluation)
        _write(case.rescored, old, scores)
    for other in {*case.rescored.parent.iterdir()} - {case.rescored, case.rescored_surplus}:
        shutil.rmtree(other, ignore_errors=True)  # of former champions and protocols: no gate asks for them again


def score_version(
    version: ModelVersion, model: LoadedModel, scorer: Scorer, documents: Sequence[Document], evaluation: Evaluation
) -> pa.Table:
    """A model's scores as the stage `evaluate` makes them."""
    with (
        track(f"Scoring {version.title} on the test set", len(documents), "documents") as progress,
        reproducible(evaluation.threads),
    ):
        return scorer.score(model.network, model.tokenizer, documents, evaluation, Pace(progress.advance))


def _load(case: Case, version: ModelVersion, into: Path, device: str) -> LoadedModel:
    return load_model(case.registry.download(version.name, version.version, into), verify=False, device=device)


def _write(folder: Path, model: LoadedModel, scores: pa.Table) -> None:
    with atomic_folder(folder) as target:
        write_scores(target, model, scores)


def main(job_file: str) -> int:
    """Do the job of a file; returns the exit code."""
    try:
        job = read_json(Path(job_file))
        registry = ModelRegistry(job["tracking_uri"])
        case = Case(
            registry,
            registry.version(job["name"], job["version"]),
            typed(Gate, job["gate"], job_file),
            typed(Evaluation, job["evaluation"], job_file),
            Path(job["scores"]),
            Path(job["documents"]),
        )
        score_again(case, use_device(Accelerator(job["device"])))
    except LangmillError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    end_with_parent()
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
