"""What a run came to, for each recipe: the metric that decides, the verdict and the version.

When the flow has judged a model it notes so in .langmill/settled/. The note holds as long as the model and its
evaluation are the same files and the champion is the one that the flow left; then nothing is to be done for that
recipe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from langmill.errors import LangmillError
from langmill.evaluation.estimates import Estimate, Metrics
from langmill.files import MANIFEST_NAME, digest_of, read_json, sha256_file, write_json
from langmill.registry.store import ModelRegistry
from langmill.registry.verdict import Outcome
from langmill.registry.versions import CHAMPION
from langmill.workspace import Workspace


@dataclass(frozen=True)
class Settled:
    """What the flow concluded about a recipe's model."""

    files: str
    """Digest of the model's and the evaluation's manifests."""
    version: int
    """The registered version."""
    champion: int | None
    """The champion after the run."""
    outcome: str
    """An `Outcome` of the verdict."""
    sentence: str
    """The verdict for a person."""


@dataclass(frozen=True)
class Row:
    """What one recipe came to: its line in a table."""

    recipe: str
    metric: str
    estimate: Estimate
    baseline: str
    """The trivial baseline and its value."""
    strong: str
    """The strong baseline that is hardest to beat and its value; a dash for none."""
    verdict: str
    version: int
    sentence: str
    judged: str = ""
    """What part of the test documents the metric is of, as `200 of 1,178`; "" where it is of all of them."""
    base: str = ""
    """What the model was fine-tuned from and its value as it came; "" where there is none."""


def files_digest(recipe: str) -> str | None:
    """A digest of what was made for a recipe; None while something is missing."""
    folders = Workspace().model(recipe), Workspace().evaluation(recipe)
    try:
        return digest_of([sha256_file(folder / MANIFEST_NAME) for folder in folders])
    except FileNotFoundError:
        return None


def settle(recipe: str, version: int, champion: int | None, outcome: str, sentence: str) -> None:
    """Note that a recipe's model is registered and judged."""
    digest = files_digest(recipe)
    if digest is not None:
        write_json(Workspace().settled(recipe), asdict(Settled(digest, version, champion, outcome, sentence)))


def settled(recipe: str) -> Settled | None:
    """What was noted of the model that now lies in the workspace; None if nothing was."""
    try:
        note = Settled(**read_json(Workspace().settled(recipe)))
    except (LangmillError, TypeError):
        return None
    return note if note.files == files_digest(recipe) else None


def all_settled(recipes: Iterable[str], tracking_uri: str) -> bool:
    """Whether every recipe's model is still registered and judged, and the champions are those that the flow left.

    A verdict that the gate could not tell is none: it is asked again.
    """
    registry = ModelRegistry(tracking_uri)
    champions = {found.name: found.version for found in registry.overview() if CHAMPION in found.aliases}
    numbers = registry.numbers()
    for recipe in recipes:
        note = settled(recipe)
        if note is None or note.version not in numbers.get(recipe, {note.version}):
            return False
        if note.outcome == Outcome.cannot_tell or note.champion != champions.get(recipe):
            return False
        if registry.ledger.unfinished(recipe) is not None:
            return False
    return True


def read_row(recipe: str) -> Row | None:
    """A recipe's line; None if its model is not judged."""
    note = settled(recipe)
    if note is None:
        return None
    metrics = Metrics.read(Workspace().evaluation(recipe))
    trivial, strong = (
        f"{found.name} {found.values[metrics.primary]:.4g}" if (found := metrics.hardest(strength)) else "-"
        for strength in ("trivial", "strong")
    )
    zero_shot, judged = metrics.zero_shot, metrics.share_of(metrics.primary)
    base = "" if zero_shot is None else f"{metrics.base} {zero_shot.values[metrics.primary]:.4g}"
    verdict = str(note.outcome if note.outcome == Outcome.cannot_tell else Outcome.refused)
    if note.champion == note.version:
        verdict = "champion"
    return Row(
        recipe,
        metrics.primary,
        metrics.decides,
        trivial,
        strong,
        verdict,
        note.version,
        note.sentence,
        judged,
        base,
    )
