"""What a cleaning step offers.

A step is one file: an optional options dataclass, a `CleaningStep`, and `CLEANING_STEPS.register` over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from langmill.config import sections
from langmill.errors import ConfigError, DataError, LangmillError
from langmill.plugins import NoOptions, Registry

LINE_CHARACTERS = 200
"""Characters of a line that was taken out, as a step tells it."""


class Draft(NamedTuple):  # made three times as fast as a frozen dataclass, and there is one a document and step
    """A document on its way through the steps; `_replace` makes a changed one."""

    text: str
    target: str | None = None
    """The text to produce, where the corpus has one."""
    metadata: Mapping[str, str] = MappingProxyType({})
    changes: tuple[str, ...] = ()
    """What this step changed, by kind and once for each time (`email`, `email`, `card`): the report counts them. A step
    may leave it empty; that it changed the document is counted all the same."""
    removed_lines: tuple[str, ...] = ()
    """Lines that this step took out, the first `LINE_CHARACTERS` of each, once for each time: the report lists the most
    frequent ones."""

    def rewritten(self, rewrite: Callable[[str], str]) -> Draft:
        """The draft with its text and its target rewritten; the same one if that changes nothing."""
        text, target, metadata = self[:3]
        rewritten, new_target = rewrite(text), None if target is None else rewrite(target)
        return self if rewritten == text and new_target == target else Draft(rewritten, new_target, metadata)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a step makes of a document that is left out."""

    reason: str
    """Why, in a word or several joined by `_`; the report counts them by step and reason."""
    score: float | None = None
    """What the step measured, where that decided; it is kept with the document."""
    detail: str | None = None
    """What it took the document for, in a word: a language. Kept, too."""


class CleaningStep(ABC):
    """One step of cleaning: what it makes of a document depends on that document and the options alone.

    It is built once in each process that cleans, so that what is costly to load is best loaded in `__init__`; what is
    costly to learn is learned in `learn`, once for all processes.
    """

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of the step's options."""
    needs_target: ClassVar[bool] = False
    """Whether it means something only where documents have a target."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @classmethod
    def plugins(cls, options: Any) -> list[tuple[str, str]]:
        """Entry points, as `(group, name)`, of the plug-ins that its options name: their code is watched too."""
        del options
        return []

    @classmethod
    def learn(cls, options: Any) -> Any:
        """What the step learns from other data than the documents; None for a step that learns nothing.

        It is learned once, where cleaning begins, and sent to each process, where a step that learns gets it as the
        second argument of `__init__`; so it must be what `pickle` can send.
        """
        del options
        return None

    @abstractmethod
    def clean(self, document: Draft) -> Draft | Dropped:
        """The document as it goes on to the next step, or why it is dropped.

        Args:
            document: As the steps before left it; its text is not empty.
        """

    def clean_batch(self, documents: Sequence[Draft]) -> list[Draft | Dropped]:
        """What `clean` makes of each of them, in their order; this is what those who clean call.

        A step overrides it where many documents at once take less time. What becomes of one must not depend on the
        others: batches are cut by size, and their cuts are no part of the settings.
        """
        return [self.clean(document) for document in documents]


CLEANING_STEPS: Registry[CleaningStep] = Registry(
    "cleaning_steps", CleaningStep, "langmill.data.cleaning", "cleaning.steps"
)
Steps = Mapping[str, CleaningStep]
"""Steps by their names, in their order."""
Learned = Mapping[str, Any]
"""What steps have learned, by their names."""


def check_steps(
    cleaning: sections.Cleaning, where: str, *, has_target: bool = True
) -> dict[str, tuple[type[CleaningStep], Any]]:
    """Check the steps that a corpus names and their options, without building them.

    Args:
        cleaning: The names and the options, not yet typed.
        where: What they come from, for messages.
        has_target: Whether the corpus's documents have targets.

    Returns:
        Each step's class and its options, by its name, in their order.

    Raises:
        ConfigError: There is no such step, its options are refused, or it needs a target.
    """
    found: dict[str, tuple[type[CleaningStep], Any]] = {}
    for name in cleaning.steps:
        step_class = CLEANING_STEPS.find(name, where)
        if step_class.needs_target and not has_target:
            raise ConfigError(
                f"{where}: cleaning.steps has {name}, which looks at the target, but fields.target is null; name the "
                f"target's field, or set cleaning.options.{name} to null.",
                "mismatch",
            )
        options = CLEANING_STEPS.options(name, cleaning.options[name] or {}, where, f"cleaning.options.{name}")
        found[name] = step_class, options
    return found


def learn_steps(cleaning: sections.Cleaning, where: str) -> Learned:
    """Have the steps that learn do so.

    Raises:
        ConfigError: As `check_steps`.
        DataError: A step can't learn.
    """
    learned = {name: step_class.learn(options) for name, (step_class, options) in check_steps(cleaning, where).items()}
    return {name: found for name, found in learned.items() if found is not None}


def build_steps(cleaning: sections.Cleaning, where: str, learned: Learned | None = None) -> Steps:
    """The steps that a corpus names, with their options.

    Args:
        cleaning: The names and the options, not yet typed.
        where: What they come from, for messages.
        learned: What `learn_steps` has found; None has them learn now.

    Raises:
        ConfigError: As `check_steps`, or a step misses a package.
        DataError: A step can't learn or be built.
    """
    learned = learn_steps(cleaning, where) if learned is None else learned
    steps: dict[str, CleaningStep] = {}
    for name, (step_class, options) in check_steps(cleaning, where).items():
        given = (learned[name],) if name in learned else ()
        try:
            steps[name] = step_class(options, *given)
        except LangmillError:
            raise
        except Exception as error:
            raise DataError(
                f"{where}: the cleaning step {name} can't be built ({type(error).__name__}: {error}); mend it, or "
                "take it out of cleaning.steps.",
                "failed",
            ) from error
    return steps
