"""A model's evaluation as a folder, written and read back.

The folder holds `metrics.json` (the metrics), `scores.parquet` (one row a test document, for paired comparisons),
`baselines/NAME.parquet` (the same of each baseline), `plots/` (a CSV and a PNG of each plot), `report.md` (all of it
to read), `generation_config.json` (how a model that writes was asked to, which goes into its package) and
`manifest.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from langmill.config.compose import plain
from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.errors import EvaluationError
from langmill.evaluation.estimates import BASE, METRICS_NAME, Estimate
from langmill.evaluation.evaluate import Evaluated
from langmill.evaluation.plots import draw, write_csv
from langmill.evaluation.report import write_report
from langmill.evaluation.scoring import EvaluationSet, usable
from langmill.files import atomic_file, read_manifest, write_json, write_manifest
from langmill.models.folder import tokenizer_digest, write_generation_config
from langmill.scoring.base import Scorer, Strength, build_scorer
from langmill.tasks.base import Task
from langmill.tasks.loading import LoadedModel, task_of

SCORES_NAME = "scores.parquet"
BASELINES_NAME = "baselines"
PLOTS_NAME = "plots"
REPORT_NAME = "report.md"


def write_evaluation(
    folder: Path, model: LoadedModel, evaluated: Evaluated, evaluation: Evaluation, decides: str
) -> None:
    """Write an evaluation's folder; equal evaluations give equal bytes."""
    write_json(folder / METRICS_NAME, metrics_json(evaluated, decides))
    _write_table(folder / SCORES_NAME, evaluated.scores)
    for baseline in evaluated.baselines:
        _write_table(folder / BASELINES_NAME / f"{baseline.name}.parquet", baseline.scores)
    for plot in evaluated.plots:
        write_csv(plot, folder / PLOTS_NAME / f"{plot.name}.csv")
        draw(plot, folder / PLOTS_NAME / f"{plot.name}.png")
    if evaluated.scorer.generation_config is not None:
        write_generation_config(folder, model.config, evaluated.scorer.generation_config.to_json())
    write_report(folder / REPORT_NAME, model, evaluated, evaluation, decides)
    write_manifest(
        folder,
        {
            **_model_facts(model),
            **_test_facts(evaluated, decides),
            "scoring": {"options": plain(evaluated.scorer.options)},
            "group_by": evaluated.group_by,
            "baselines": {
                baseline.name: {
                    "strength": baseline.strength.value,
                    "metrics": sorted(evaluated.baseline_estimates[baseline.name]),
                }
                for baseline in evaluated.baselines
            },
            "evaluation": asdict(evaluation),
        },
    )


def _model_facts(model: LoadedModel) -> dict[str, Any]:
    return {
        "recipe": model.recipe,
        "provenance": model.provenance,
        "task": model.config["langmill"]["task"],
        "tokenizer": tokenizer_digest(model.manifest),
    }


def _test_facts(evaluated: Evaluated, decides: str) -> dict[str, Any]:
    base = evaluated.base
    return {
        "primary": decides,
        "examples": len(evaluated.test_set.documents),
        "usable": evaluated.test_set.usable,
        "groups": evaluated.groups,
        "left_out": evaluated.test_set.left_out,
        "unseen_labels": evaluated.test_set.unseen_labels,
        **({"truncated": evaluated.truncated} if evaluated.truncated else {}),
        "test_set": evaluated.test_set.digest,
        "protocol": evaluated.protocol,
        **({"base": {"recipe": base.name, "scored": BASE in evaluated.baseline_estimates}} if base else {}),
    }


def metrics_json(evaluated: Evaluated, decides: str) -> dict[str, Any]:
    """All metrics: those of the model at the top, then `baselines` and `slices`."""
    fewer = {name: {"examples": count} for name, count in evaluated.examples_of.items()}
    estimates = _numbers(evaluated.estimates)
    return {
        **{name: {**values, **fewer.get(name, {})} for name, values in estimates.items()},
        **_test_facts(evaluated, decides),
        "higher_is_better": next(metric.higher_is_better for metric in evaluated.metrics if metric.name == decides),
        "signatures": {metric.name: metric.signature for metric in evaluated.metrics if metric.signature},
        "baselines": {
            baseline.name: {
                **_numbers(evaluated.baseline_estimates[baseline.name]),
                "strength": baseline.strength.value,
                **({"improvement": found.to_json()} if (found := evaluated.against.get(baseline.name)) else {}),
            }
            for baseline in evaluated.baselines
        },
        "slices": {
            field: {
                value: {"examples": examples, **_numbers(estimates)} for value, (examples, estimates) in values.items()
            }
            for field, values in evaluated.slices.items()
        },
    }


def _numbers(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: estimate.to_json() for name, estimate in estimates.items()}


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd")


def write_scores(folder: Path, model: LoadedModel, scores: pa.Table) -> None:
    """Write an evaluation folder of nothing but a model's scores, for a comparison."""
    _write_table(folder / SCORES_NAME, scores)
    write_manifest(folder, _model_facts(model))


@dataclass(frozen=True)
class EvaluationFolder:
    """An evaluation read back: what the gate compares."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, *, verify: bool) -> EvaluationFolder:
        """Read an evaluation's manifest. Raises EvaluationError where there is none, or as `read_manifest`."""
        if not folder.is_dir():
            raise EvaluationError(f"There is no evaluation in {folder}; `langmill run` makes it.", "missing")
        return cls(folder, read_manifest(folder, verify=verify))

    @property
    def task(self) -> Task:
        """The task that the scores are of."""
        return task_of({"langmill": self.manifest}, str(self.folder))[0]

    @property
    def scorer(self) -> Scorer:
        """What the scores were made by."""
        task, options = task_of({"langmill": self.manifest}, str(self.folder))
        options = self.manifest["scoring"]["options"] if "scoring" in self.manifest else options
        return build_scorer(task, options, str(self.folder))

    @property
    def test_set(self) -> str:
        """The digest of the documents that were scored."""
        return str(self.manifest["test_set"])

    @property
    def protocol(self) -> str | None:
        """Digest of what decided the scores; None for an evaluation older than that, which equals no other."""
        return self.manifest.get("protocol")

    @property
    def tokenizer(self) -> str | None:
        """SHA-256 of the model's `tokenizer.json`; None for an evaluation that does not say."""
        return self.manifest.get("tokenizer")

    @property
    def group_by(self) -> str | None:
        """The metadata field whose equal values make a group; None where each document is its own."""
        return self.manifest.get("group_by")

    def judged(self, split: Iterable[Document]) -> EvaluationSet:
        """What a model is judged on of a test split, by the settings that this evaluation was made with."""
        asked = {"threads": 1, "max_documents": None, "max_generated": None, **self.manifest["evaluation"]}
        return usable(self.task, split).capped(Evaluation(**asked), self.group_by)

    @property
    def unseen_labels(self) -> dict[str, int]:
        """The test documents of each label that training never saw; they were left out."""
        return dict(self.manifest.get("unseen_labels", {}))

    @property
    def base(self) -> str | None:
        """What the model was fine-tuned from, where that was scored as it came: the baseline `BASE`."""
        base = self.manifest.get("base") or {}
        return str(base["recipe"]) if base.get("scored") else None

    @property
    def trivial_baseline(self) -> str:
        """The name of the baseline that a first version must beat: the first trivial one with the metric that decides.

        Raises EvaluationError where there is none.
        """
        for name, facts in self.manifest["baselines"].items():
            if is_trivial(facts) and self.manifest["primary"] in facts.get("metrics", [self.manifest["primary"]]):
                return str(name)
        raise EvaluationError(f"The evaluation in {self.folder} has no trivial baseline.", "missing")

    def scores(self) -> pa.Table:
        """The model's scores."""
        return self._table(self.folder / SCORES_NAME)

    def baseline(self, name: str) -> pa.Table:
        """A baseline's scores."""
        return self._table(self.folder / BASELINES_NAME / f"{name}.parquet")

    def _table(self, path: Path) -> pa.Table:
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise EvaluationError(f"{path} can't be read ({error}); evaluate the model again.", "unreadable") from error


def is_trivial(facts: Mapping[str, Any]) -> bool:
    """Whether what is noted of a baseline says that it is a trivial one (before 0.2: `trivial`, true or false)."""
    return bool(facts.get("trivial", facts.get("strength") == Strength.trivial.value))
