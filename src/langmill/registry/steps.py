"""What the flow does with a trained and evaluated model: package and register, validate, judge, promote.

Plain functions, one a task of the flow. Each may run again at any time: what is done already is found and not repeated.
They work in the workspace, which is the current folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from langmill.config.sections import Accelerator, Recipe
from langmill.errors import RegistryError, UndecidedError
from langmill.evaluation.evaluate import EvaluationFolder
from langmill.evaluation.figures import hardest_baseline
from langmill.files import read_json, read_manifest, temporary_folder
from langmill.models.device import use_device
from langmill.models.folder import GENERATION_NAME, WEIGHTS_NAME
from langmill.registry.gate import judge
from langmill.registry.package import package
from langmill.registry.promote import Promotion, promote, repair
from langmill.registry.store import Registry
from langmill.registry.validate import Outcome, Validation, validate
from langmill.registry.verdict import Verdict
from langmill.registry.versions import CHALLENGER, CHAMPION, ModelVersion, Tag
from langmill.tracking.run_log import RunLog
from langmill.tracking.shipping import ship

BUILD = Path("build")
RUNS = Path(".langmill") / "runs"


@dataclass(frozen=True)
class Registered:
    """A recipe's model in the registry."""

    version: ModelVersion
    fresh: bool
    """Whether the version was made now."""


def package_and_register(recipe: Recipe, tracking_uri: str) -> Registered:
    """Make the recipe's model a version, named `challenger`, unless it is one already.

    The version is tied to the run that made the model. A model that came out of DVC's cache, and whose run is not to be
    found, gets one with what its folders say.

    Raises:
        IntegrityError: The model's or the evaluation's folder is damaged.
        RegistryError: The evaluation is of another model.
        TrackingError: MLflow can't be reached.
    """
    model, evaluation = BUILD / "models" / recipe.name, BUILD / "evaluation" / recipe.name
    manifest = read_manifest(model, verify=True)
    judged = EvaluationFolder.open(evaluation, verify=True)
    provenance, weights = str(manifest["provenance"]), str(manifest["files"][WEIGHTS_NAME])
    if judged.manifest["provenance"] != provenance:
        raise RegistryError(f"The evaluation in {evaluation} is of another model than {model}; run `dvc repro`.")
    registry = Registry(tracking_uri)
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
    found = validate(Registry(tracking_uri), version, BUILD / "models" / recipe.name, again=False)
    if found.outcome is Outcome.undecided:
        raise UndecidedError(f"Whether {version.title} works can't be told: {found.reason} The next run asks again.")
    return found


def judge_version(
    recipe: Recipe, version: ModelVersion, tracking_uri: str, device: Accelerator = Accelerator.cpu
) -> Verdict:
    """Ask the gate about a version; a champion that must be scored again computes on `device`.

    Raises as `langmill.registry.gate.judge`.
    """
    registry = Registry(tracking_uri)
    return judge(
        registry,
        registry.version(version.name, version.version),
        recipe.gate,
        recipe.evaluation,
        scores=BUILD / "evaluation" / recipe.name,
        documents=BUILD / "documents" / recipe.corpus.name,
        device=use_device(device),
    )


def promote_if_passed(version: ModelVersion, verdict: Verdict, tracking_uri: str, command: str) -> Promotion:
    """Promote a version that the gate let through; leave the champion where it is otherwise.

    Raises:
        ConflictError: Someone else moved the champion in between.
        RegistryError: The champion changed since the verdict; the next run judges again.
        TrackingError: MLflow can't be reached.
    """
    registry = Registry(tracking_uri)
    if verdict.outcome == "passed":
        return promote(registry, version.name, version.version, force=None, command=command)
    champion = registry.aliased(version.name, CHAMPION)  # where it is not sure who that is, the verdict says so
    number = champion.version if champion else None
    stays = f" Version {number} stays the champion." if number is not None else " There is no champion."
    sentence = verdict.sentence if verdict.unchanged else verdict.sentence + stays
    return Promotion(False, version.name, number, number, sentence)


def _run_of(recipe: Recipe, provenance: str, tracking_uri: str) -> str:
    """The run that made a model, with all of its log sent; made from the folders where there is none."""
    log = RunLog(RUNS / provenance)
    log.start(
        experiment=recipe.name,
        name=f"{recipe.name} {provenance[:8]}",
        provenance=provenance,
        params={},
        tags={Tag.recipe: recipe.name},
    )
    log.finish()
    return ship(log.folder, tracking_uri)


def _tags(recipe: Recipe, model: Path, judged: EvaluationFolder) -> dict[str, str]:
    figures = read_json(judged.folder / "metrics.json")
    decides = figures.get(recipe.gate.metric)
    if not isinstance(decides, dict):
        raise RegistryError(
            f"The evaluation in {judged.folder} has no figure {recipe.gate.metric}, by which the gate decides; "
            "check gate.metric and run `dvc repro`."
        )
    baselines = {
        tag: f"{name_value[0]} {name_value[1]!r}"
        for tag, strength in ((Tag.trivial, "trivial"), (Tag.strong, "serious"))
        if (name_value := hardest_baseline(figures, strength)) is not None
    }
    manifest = read_manifest(model, verify=False)
    facts = manifest.get("training_split")  # older models do not say
    split = {Tag.documents: str(facts["documents"]), Tag.data_bytes: str(facts["bytes"])} if facts else {}
    return {
        Tag.recipe: recipe.name,
        Tag.task: recipe.task.name,
        Tag.test_set: judged.test_set,
        **({Tag.protocol: judged.protocol} if judged.protocol is not None else {}),
        Tag.metric: recipe.gate.metric,
        Tag.value: repr(decides["value"]),
        Tag.low: repr(decides["low"]),
        Tag.high: repr(decides["high"]),
        Tag.parameters: str(manifest["parameters"]),  # in the file a tied head may stand twice
        **baselines,
        **split,
        Tag.size: str((model / WEIGHTS_NAME).stat().st_size),
    }
