"""What a rule of the gate is.

A rule is a class with `@RULES.register("name")` over it, in a file beside this one or in a module of another
distribution with an entry point of that name in the group `langmill.rules`. `gate.rules` in the settings names the
rules of a recipe, with the options of each, in the order in which they are asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from langmill.config.sections import Gate
from langmill.plugins import NoOptions, Registry

if TYPE_CHECKING:  # the stage `compose` checks the rules' options, and knows nothing of evidence
    from langmill.registry.evidence import Evidence
    from langmill.registry.verdict import RuleResult


class Rule(ABC):
    """One thing that a version must show to become champion; `options` are its own typed settings."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of `gate.rules.NAME`."""
    ends_asking: ClassVar[bool] = False
    """Whether no other rule is asked once this one is not kept: they would judge by what it found wanting."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def ask(self, evidence: Evidence) -> Sequence[RuleResult]:
        """What the rule finds, a result for each thing that it asks for.

        It reads nothing but the evidence. Where that does not suffice, it raises or returns a result whose `passed` is
        None: the verdict is *cannot tell* then.
        """


RULES: Registry[Rule] = Registry("rules", Rule, "langmill.registry.rules", "gate.rules.NAME")


def build_rules(gate: Gate, where: str) -> dict[str, Rule]:
    """The rules of a recipe by their names, in the order in which they are asked.

    Args:
        gate: The recipe's settings; a rule whose options are null is left out. Two are asked also where nothing names
            them, as in a folder of settings that is older than rules.
        where: What they come from, for the message.

    Raises:
        ConfigError: A rule is unknown or its options are refused.
    """
    rules = {"validation": {}, "not_rolled_back": {}, **gate.rules}
    found = {name: RULES.find(name, where) for name in rules}  # a misspelt name that is null would leave nothing out
    return {
        name: found[name](RULES.options(name, options, where, f"gate.rules.{name}"))
        for name, options in rules.items()
        if options is not None
    }
