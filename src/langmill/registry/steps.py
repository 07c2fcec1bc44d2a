"""What the flow does with a trained and evaluated model: package and register, validate, judge, promote.

Plain functions, one a task of the flow. Each may run again at any time: what is done already is found and not repeated.
They work in the workspace, which is the current folder.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from langmill.config.sections import Accelerator, Recipe
from langmill.errors import RegistryError, UndecidedError
from langmill.evaluation.card import card
from langmill.evaluation.estimates import Metrics
from langmill.evaluation.folder import EvaluationFolder
from langmill.files import read_manifest, temporary_folder
from langmill.models.folder import GENERATION_NAME, WEIGHTS_NAME
from langmill.registry.evidence import Evidence, Unscored
from langmill.registry.gate import judge
from langmill.registry.gathering import Case
from langmill.registry.package import package
from langmill.registry.promote import Promotion, promote, repair
from langmill.registry.rescore import rescore
from langmill.registry.rules.base import build_rules
from langmill.registry.store import ModelRegistry
from langmill.registry.validate import Outcome, Validation, validate
from langmill.registry.verdict import Outcome as VerdictOutcome
from langmill.registry.verdict import Verdict
from langmill.registry.versions import CHALLENGER, CHAMPION, ModelVersion, Tag, metrics_tags
from langmill.tracking.run_log import RunLog
from langmill.tracking.shipping import ship
from langmill.workspace import Workspace


@dataclass(frozen=True)
class Registered:
    """A recipe's model in the registry."""

    version: ModelVersion
    fresh: bool
    """Whether the version was made now."""


@dataclass(frozen=True)
class Rescored:
    """What became of scoring a champion again."""

    needed: bool
    problem: str = ""
    """Why it could not be scored; "" if it was, or need not be."""


def package_and_register(recipe: Recipe, tracking_uri: str) -> Registered:
    """Make the recipe's model a version, named `challenger`, unless it is one already.

    The version is tied to the run that made the model. A model that came out of DVC's cache, and whose run is not to be
    found, gets one with what its folders say.

    Raises:
        IntegrityError: The model's or the evaluation's folder is damaged.
        RegistryError: The evaluation is of another model.
        TrackingError: MLflow can't be reached.
    """
    model, evaluation = Workspace().model(recipe.name), Workspace().evaluation(recipe.name)
    manifest = read_manifest(model, verify=True)
    judged = EvaluationFolder.open(evaluation, verify=True)
    provenance, weights = str(manifest["provenance"]), str(manifest["files"][WEIGHTS_NAME])
    if judged.manifest["provenance"] != provenance:
        sentence = f"The evaluation in {evaluation} is of another model than {model}; run `dvc repro`."
        raise RegistryError(sentence, "mismatch")
    registry = ModelRegistry(tracking_uri)
    repair(registry, recipe.name)
    generation = str(judged.manifest["files"].get(GENERATION_NAME, ""))
    known = registry.find(recipe.name, provenance, weights, generation)
    if known is not None:
        return Registered(known, fresh=False)
    run_id = _run_of(recipe, provenance, tracking_uri)
    with temporary_folder() as temporary:
        packaged = package(model, evaluation, temporary / "package")
        version, fresh = registry.register(
            packaged,
            name=recipe.name,
            provenance=provenance,
            weights=weights,
            generation=generation,
            run_id=run_id,
            tags=_tags(recipe, model, judged),
            description=recipe.description,
            card=_card(recipe, model, judged),
        )
    if fresh:
        waiting = registry.aliased(recipe.name, CHALLENGER)
        registry.move_alias(recipe.name, CHALLENGER, version.version, waiting.version if waiting else None)
    return Registered(registry.version(recipe.name, version.version), fresh)


def validate_version(recipe: Recipe, version: ModelVersion, tracking_uri: str) -> Validation:
    """Validate a version in fresh processes, unless that was done.

    Raises:
        UndecidedError: Nothing could be said of the version; the same call can succeed later.
        TrackingError: The registry can't be reached.
        RegistryError: The model folder can't be compared with.
    """
    found = validate(ModelRegistry(tracking_uri), version, Workspace().model(recipe.name), again=False)
    if found.outcome is Outcome.undecided:
        raise UndecidedError(f"Whether {version.title} works can't be told: {found.reason} The next run asks again.")
    return found


def rescore_champion(
    recipe: Recipe,
    version: ModelVersion,
    tracking_uri: str,
    device: Accelerator,
    *,
    log: Path,
    progress: Path,
    cancel: threading.Event,
) -> Rescored:
    """Ask the gate, and score the champion again, in a process of its own, where it could not tell without that.

    Mostly it could: then its verdict is noted, and `judge_version` finds it. `log`, `progress` and `cancel` are as of
    `run_process`. Raises as `rescore`.
    """
    case = _case(recipe, version, tracking_uri)
    if case.noted_verdict() is not None:
        return Rescored(needed=False)
    evidence, verdict = _ask_gate(recipe, case)
    if not isinstance(evidence.pair, Unscored) or verdict.outcome is not VerdictOutcome.cannot_tell:
        return Rescored(needed=False)
    return Rescored(needed=True, problem=rescore(case, device, log=log, progress=progress, cancel=cancel))


def judge_version(recipe: Recipe, version: ModelVersion, tracking_uri: str, unscored: str = "") -> Verdict:
    """Gather the evidence about a version, ask the gate, and note the verdict on the version.

    The same comparison is not computed twice: a noted verdict that follows from the same evidence stands. One that
    could not be told is asked again. `unscored` is why `rescore_champion` could not score the champion, if it tried.

    Raises:
        TrackingUnreachableError: The registry can't be reached.
        ConfigError: A rule is unknown or its options are refused.
    """
    case = _case(recipe, version, tracking_uri)
    noted = case.noted_verdict()  # mostly by `rescore_champion`
    return _ask_gate(recipe, case, unscored)[1] if noted is None else noted


def _ask_gate(recipe: Recipe, case: Case, unscored: str = "") -> tuple[Evidence, Verdict]:
    evidence = case.gather(unscored)
    verdict = judge(evidence, build_rules(recipe.gate, recipe.name))
    if not verdict.unchanged and not evidence.doubt:
        case.registry.note(case.version, {Tag.verdict: json.dumps(verdict.to_json())})
    return evidence, verdict


def _case(recipe: Recipe, version: ModelVersion, tracking_uri: str) -> Case:
    registry, workspace = ModelRegistry(tracking_uri), Workspace()
    now = registry.version(version.name, version.version)  # its tags as they are now
    scores, documents = workspace.evaluation(recipe.name), workspace.documents(recipe.corpus.name)
    return Case(registry, now, recipe.gate, recipe.evaluation, scores, documents)


def promote_if_passed(version: ModelVersion, verdict: Verdict, tracking_uri: str, command: str) -> Promotion:
    """Promote a version that the gate let through; leave the champion where it is otherwise.

    Raises:
        ConflictError: Someone else moved the champion in between.
        RegistryError: The champion changed since the verdict; the next run judges again.
        TrackingError: MLflow can't be reached.
    """
    registry = ModelRegistry(tracking_uri)
    if verdict.passed and not verdict.unchanged:
        return promote(registry, version.name, version.version, force=None, command=command)
    champion = registry.aliased(version.name, CHAMPION)  # where it is not sure who that is, the verdict says so
    number = champion.version if champion else None
    stays = "There is no champion." if champion is None else f"Version {number} stays the champion."
    sentence = verdict.sentence if verdict.unchanged else f"{verdict.sentence} {stays}"
    return Promotion(False, number, sentence)


def _run_of(recipe: Recipe, provenance: str, tracking_uri: str) -> str:
    """The run that made a model, with all of its log sent; made from the folders where there is none."""
    log = RunLog(Workspace().run(provenance))
    log.start(
        experiment=recipe.name,
        name=f"{recipe.name} {provenance[:8]}",
        provenance=provenance,
        params={},
        tags={Tag.recipe: recipe.name},
        description=recipe.description,
    )
    log.finish()
    return ship(log.folder, tracking_uri)


def _card(recipe: Recipe, model: Path, judged: EvaluationFolder) -> str:
    """What MLflow's page of the version says."""
    manifest = read_manifest(model, verify=False)
    split, base = manifest.get("training_split"), manifest.get("base") or {}
    facts = {
        "task": recipe.task.name.replace("_", " "),
        "trained on": recipe.corpus.name + (f", {split['documents']:,} documents" if split else ""),
        "fine-tuned from": str(base.get("recipe", "")),
        "parameters": f"{manifest['parameters']:,}",
    }
    told = f"`langmill trace {recipe.name}` says how it came to be; its run has the curves, the samples and the report."
    return f"{card(recipe.description, Metrics.read(judged.folder), facts)}\n{told}\n"


def _tags(recipe: Recipe, model: Path, judged: EvaluationFolder) -> dict[str, str]:
    metrics = Metrics.read(judged.folder)
    if recipe.gate.metric != metrics.primary:
        raise RegistryError(
            f"The evaluation in {judged.folder} is by {metrics.primary}, not by {recipe.gate.metric}, by which the "
            "gate decides; check gate.metric and run `dvc repro`.",
            "mismatch",
        )
    manifest = read_manifest(model, verify=False)
    facts = manifest.get("training_split")  # older models do not say
    split = {Tag.documents: str(facts["documents"]), Tag.data_bytes: str(facts["bytes"])} if facts else {}
    return {
        Tag.recipe: recipe.name,
        Tag.task: recipe.task.name,
        Tag.test_set: judged.test_set,
        **({Tag.protocol: judged.protocol} if judged.protocol is not None else {}),
        **metrics_tags(metrics),
        Tag.parameters: str(manifest["parameters"]),  # in the file a tied head may stand twice
        **split,
        Tag.size: str((model / WEIGHTS_NAME).stat().st_size),
    }
