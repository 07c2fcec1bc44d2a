"""The trials of a server: which two versions of a model answer the same requests, and what became of it.

A trial has a *candidate* and a *baseline*. First the candidate is the challenger and the baseline the champion; when it
is promoted meanwhile, it goes on as the champion beside the previous version. It ends when the candidate breaches what
`serving.trial` allows, or after `max_pairs` requests. Each state is kept in `<cache>/<name>/trial.json`, which
`langmill trial` shows; a trial that has ended is not begun again for the same two versions.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from langmill.config.sections import Trial, TrialMode
from langmill.errors import LangmillError
from langmill.files import write_json
from langmill.serving.alias_state import RegisteredVersion
from langmill.serving.jobs import LoadedVersion
from langmill.serving.trial.pairs import Answer, Measure, Pair, measure, next_look, sentence
from langmill.serving.trial.state import STATE_NAME, read_state

log = logging.getLogger(__name__)
RUNNING, KEPT, BREACHED = "running", "kept", "breached"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
Stop = Callable[[str, int, str, Mapping[str, Any]], str]
"""Takes a version that failed out of the registry's way: its model, number, the reason and what was measured; returns
what became of it. Raises LangmillError."""


@dataclass
class RunningTrial:
    """Two versions of a model on the same requests."""

    candidate: LoadedVersion
    baseline: LoadedVersion
    registered: RegisteredVersion
    """Of the two the one that is not in service, as the registry describes it."""
    promoted: bool
    """Whether the candidate is the champion, and the baseline the previous version."""
    pairs: list[Pair] = field(default_factory=list)
    look_at: int = 1
    """The number of pairs at which they are compared next."""
    measures: list[Measure] = field(default_factory=list)
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    outcome: str = RUNNING
    reason: str = ""

    @property
    def beside(self) -> LoadedVersion:
        """The one that is not in service."""
        return self.baseline if self.promoted else self.candidate


class Trials:
    """All trials of a server. The follower begins them, in its thread; requests are drawn in the event loop.

    Args:
        settings: What is tried and what is allowed.
        cache: The folder of the states.
        stop: Called with a candidate that breached its limits.
        registry: Where they are counted.
        say: Called with a sentence on every change.
    """

    def __init__(
        self, settings: Trial, cache: Path, stop: Stop, registry: CollectorRegistry, say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self._cache = cache
        self._stop = stop
        self._say = say
        self._running: dict[str, RunningTrial] = {}
        self._untold: dict[str, RunningTrial] = {}
        self._ended: dict[str, tuple[int, int, str]] = {}
        """Of each model the trial that ended last, before it can be read from its file."""
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        labels = ["model", "version"]
        self._pairs = Counter(
            "langmill_trial_pairs", "Requests that two versions answered.", ["model"], registry=registry
        )
        self._failures = Counter("langmill_trial_failures", "Failed answers of a trial.", labels, registry=registry)
        self._seconds = Histogram(
            "langmill_trial_seconds", "Seconds of a trial's answers, each token of a text.", labels, registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._breaches = Counter(
            "langmill_trial_breaches", "Trials that ended in a breach.", ["model"], registry=registry
        )

    # In the follower's thread ----------------------------------------------------------------------------------------

    def wants(self, name: str, candidate: int, baseline: int, registered: RegisteredVersion) -> bool:
        """Whether a trial of these two is still to begin."""
        if self.settings.mode is TrialMode.off:
            return False
        running = self._running.get(name)
        if running is not None and running.registered == registered:
            return False
        known = self.state(name)
        noted = (known.get("candidate"), known.get("baseline"), known.get("provenance"))
        ended = {self._ended.get(name), noted if known.get("outcome") in (KEPT, BREACHED) else None}
        return (candidate, baseline, registered.provenance) not in ended

    def begin(self, trial: RunningTrial) -> None:
        """Let a share of the requests be answered by both."""
        name = trial.candidate.name
        trial.look_at = self.settings.min_pairs
        for each in (trial.candidate, trial.baseline):
            self._failures.labels(name, str(each.version))
        self._running[name] = trial
        self._note(trial)
        how = {TrialMode.canary: "answers", TrialMode.shadow: "gets a copy of"}[TrialMode(self.settings.mode)]
        if trial.promoted:
            self._say(
                f"{name}: version {trial.baseline.version} gets a copy of {self.settings.share:.0%} of the requests, "
                f"to compare version {trial.candidate.version} with."
            )
        else:
            self._say(
                f"{name}: version {trial.candidate.version} is on trial and {how} {self.settings.share:.0%} of the "
                "requests."
            )

    def loaded(self, name: str, registered: RegisteredVersion) -> LoadedVersion | None:
        """The version beside the one in service, if it is this one; what is promoted need not be loaded again."""
        running = self._running.get(name)
        return running.beside if running is not None and running.registered == registered else None

    def swapped(
        self, name: str, now: LoadedVersion, before: LoadedVersion | None, was: RegisteredVersion | None
    ) -> None:
        """Another version is in service: the candidate of a trial goes on beside the one before, others end."""
        running = self._running.get(name)
        if running is None:
            return
        if running.candidate.version == now.version and before is not None and was is not None:
            running.promoted, running.baseline, running.registered = True, before, was
            self._note(running)
        else:
            self.end(name)

    def end(self, name: str) -> None:
        """Let the version in service answer alone."""
        self._running.pop(name, None)

    def tell(self) -> None:
        """Tell the registry of breaches that it could not be told of."""
        for name, trial in list(self._untold.items()):
            self._tell(name, trial)

    def state(self, name: str) -> dict[str, Any]:
        """What is noted of a model's last trial; nothing if there was none."""
        return read_state(self._cache, name)

    # In the event loop -----------------------------------------------------------------------------------------------

    @property
    def any(self) -> bool:
        """Whether any model has one."""
        return bool(self._running)

    def draw(self, name: object, request_id: str | None) -> RunningTrial | None:
        """The trial that a request takes part in: by chance, or always the same for a request that has an id."""
        trial = self._running.get(name) if isinstance(name, str) else None
        if trial is None:
            return None
        lot = random.random()  # noqa: S311 -- no secret
        if request_id is not None:
            spread = f"{trial.candidate.fingerprint} {request_id}".encode()
            lot = int.from_bytes(hashlib.sha256(spread).digest()[:8], "big") / 2**64
        return trial if lot < self.settings.share else None

    def answers(self, trial: RunningTrial) -> tuple[LoadedVersion, LoadedVersion]:
        """Who answers the client, and who gets the copy."""
        if trial.promoted or self.settings.mode is TrialMode.canary:
            return trial.candidate, trial.baseline
        return trial.baseline, trial.candidate

    def add(self, trial: RunningTrial, by: Mapping[int, Answer]) -> None:
        """Note what both answered, by version; at some numbers of pairs, compare them in a thread."""
        name = trial.candidate.name
        if self._running.get(name) is not trial or len(trial.pairs) >= self.settings.max_pairs:
            return
        trial.pairs.append(Pair(by[trial.candidate.version], by[trial.baseline.version]))
        self._pairs.labels(name).inc()
        for version, answer in by.items():
            if answer.failed:
                self._failures.labels(name, str(version)).inc()
            else:
                self._seconds.labels(name, str(version)).observe(answer.seconds)
        if len(trial.pairs) >= trial.look_at:
            trial.look_at = next_look(len(trial.pairs), self.settings)
            task = asyncio.get_running_loop().create_task(asyncio.to_thread(self.judge, trial))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def judge(self, trial: RunningTrial) -> None:
        """Compare the pairs so far, and end the trial if that settles it."""
        name = trial.candidate.name
        pairs = list(trial.pairs)
        trial.measures = measure(pairs, self.settings)
        breach = sentence(trial.measures)
        with self._lock:
            if self._running.get(name) is not trial:
                return
            if breach:
                trial.outcome = BREACHED
                trial.reason = f"On live traffic, after {len(pairs)} requests, {breach}."
            elif len(pairs) >= self.settings.max_pairs:
                trial.outcome = KEPT
                trial.reason = f"Nothing was breached in {len(pairs)} requests."
            if trial.outcome != RUNNING:
                self._ended[name] = trial.candidate.version, trial.baseline.version, trial.registered.provenance
                self.end(name)
        self._note(trial)
        if trial.outcome == BREACHED:
            self._breaches.labels(name).inc()
            self._tell(name, trial)
        elif trial.outcome == KEPT:
            self._say(f"{name}: the trial of version {trial.candidate.version} has ended. {trial.reason}")

    # -----------------------------------------------------------------------------------------------------------------

    def _tell(self, name: str, trial: RunningTrial) -> None:
        facts = {"measures": [each.to_json() for each in trial.measures], "pairs": len(trial.pairs)}
        try:
            told = self._stop(name, trial.candidate.version, trial.reason, facts)
        except LangmillError as error:
            self._untold[name] = trial
            log.error("The registry can't be told that %s breached: %s", trial.candidate.fingerprint, error)
            return
        self._untold.pop(name, None)
        self._say(f"{name}: {trial.reason} {told}")

    def _note(self, trial: RunningTrial) -> None:
        state = {
            "candidate": trial.candidate.version,
            "baseline": trial.baseline.version,
            "provenance": trial.registered.provenance,
            "promoted": trial.promoted,
            "mode": str(self.settings.mode),
            "share": self.settings.share,
            "began": trial.began,
            "pairs": len(trial.pairs),
            "next_look": trial.look_at,
            "measures": [each.to_json() for each in trial.measures],
            "outcome": trial.outcome,
            "reason": trial.reason,
        }
        try:
            write_json(self._cache / trial.candidate.name / STATE_NAME, state)
        except (LangmillError, OSError) as error:
            log.warning("The state of a trial can't be written: %s", error)
