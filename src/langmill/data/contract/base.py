"""What an expectation is.

An expectation is a class with `@EXPECTATIONS.register("name")` over it, in a file of `expectations/` or in a module of
another distribution with an entry point of that name in the group `langmill.expectations`. `contract.expectations` in
a corpus's settings names those that are asked, with the options of each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from langmill.config import sections
from langmill.data.contract.findings import Finding
from langmill.plugins import NoOptions, Registry

if TYPE_CHECKING:  # the stage `compose` checks the options, and knows nothing of evidence
    from langmill.data.contract.evidence import Evidence


class Expectation(ABC):
    """One thing that is expected of a corpus; `options` are its own typed settings."""

    options_class: ClassVar[type[Any]] = NoOptions
    """The dataclass of `contract.expectations.NAME`."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def ask(self, evidence: Evidence) -> Sequence[Finding]:
        """What the expectation finds, a finding for each thing that it measures.

        It reads nothing but the evidence: the same report, documents and options give the same findings. Where the
        evidence says nothing of the matter, the outcome is *not asked*.
        """


EXPECTATIONS: Registry[Expectation] = Registry(
    "expectations", Expectation, "langmill.data.contract.expectations", "contract.expectations.NAME"
)


def build_expectations(contract: sections.Contract, where: str) -> dict[str, Expectation]:
    """The expectations of a corpus by their names.

    Args:
        contract: The corpus's settings; an expectation whose options are null is left out.
        where: What they come from, for the message.

    Raises:
        ConfigError: An expectation is unknown or its options are refused.
    """
    found = {name: EXPECTATIONS.find(name, where) for name in contract.expectations}  # a misspelt null is refused too
    return {
        name: found[name](EXPECTATIONS.options(name, options, where, f"contract.expectations.{name}"))
        for name, options in contract.expectations.items()
        if options is not None
    }
