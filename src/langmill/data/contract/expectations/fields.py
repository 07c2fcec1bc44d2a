"""The expectations on the values of fields: which may be missing, and what they can be read as.

A field is `label`, `target` or `metadata.NAME`.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Annotated

from langmill.config.constraints import Allowed
from langmill.config.sections.contract import Portion
from langmill.config.typed import settings
from langmill.data.contract.base import EXPECTATIONS, Expectation
from langmill.data.contract.evidence import Evidence, Kind, kind_of, shortened, value_of
from langmill.data.contract.findings import Finding
from langmill.data.contract.limits import Limits, at_most, judge, share_of
from langmill.data.document import Document


def _is_field(name: str) -> bool:
    return name in ("label", "target") or (name.startswith("metadata.") and name != "metadata.")


Shares = Annotated[
    dict[str, Portion],
    Allowed("label, target or metadata.NAME, each with a share", lambda shares: all(map(_is_field, shares))),
]
Kinds = Annotated[
    dict[str, Kind],
    Allowed("label, target or metadata.NAME, each with a type", lambda kinds: all(map(_is_field, kinds))),
]


@settings
class NullOptions:
    """The largest share of documents without a value, by field."""

    stop: Shares
    """More than this stops."""
    warn: Shares
    """More than this is told."""


@EXPECTATIONS.register("nulls")
class Nulls(Expectation):
    """The share of documents that lack a label, a target or a metadata field; an empty value is none."""

    options_class = NullOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Count the documents without a value; a metadata field that no document has is missing in all."""
        found, total = [], evidence.statistics.documents
        for name in dict.fromkeys([*self.options.stop, *self.options.warn]):
            known = name in evidence.statistics.fields
            count = evidence.statistics.nulls[name] if known else total

            def lacks(document: Document, name: str = name) -> bool:
                return value_of(document, name) is None

            limits = Limits([None, self.options.stop.get(name)], [None, self.options.warn.get(name)])
            words, value = f"{share_of(count, total, 'documents')} have no {name}", count / total if total else 0.0
            rows = functools.partial(evidence.find, lacks)
            found.append(judge(f"{name} missing", words, value, limits, rows))
        return found


@settings
class TypesOptions:
    """What the values of fields are, and how many may be something else."""

    fields: Kinds
    """The type of each field: boolean, whole_number, number, date, json or text, which takes everything."""
    stop: Portion | None = None
    """More than this stops."""
    warn: Portion | None = None
    """More than this is told."""


@EXPECTATIONS.register("types")
class Types(Expectation):
    """The types of labels and metadata: the share of values that can't be read as the type of their field."""

    options_class = TypesOptions

    def ask(self, evidence: Evidence) -> list[Finding]:
        """Count the values of other kinds; a missing value is a matter of `nulls`."""
        found = []
        for name, wanted in self.options.fields.items():
            kinds = evidence.statistics.kinds.get(name, Counter[Kind]())
            total = kinds.total()
            count = sum(number for kind, number in kinds.items() if not wanted.takes(kind))

            def other(document: Document, name: str = name, wanted: Kind = wanted) -> bool:
                value = value_of(document, name)
                return value is not None and not wanted.takes(kind_of(value))

            def show(document: Document, name: str = name) -> str:
                return shortened(value_of(document, name) or "")

            words = f"{share_of(count, total, f'values of {name}')} are no {wanted.replace('_', ' ')}"
            value = count / total if total else 0.0
            rows = functools.partial(evidence.find, other, show)
            found.append(at_most(f"{name} of another type", words, value, self.options, rows))
        return found
