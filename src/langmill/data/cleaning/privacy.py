"""Personal data and secrets out of texts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import field
from typing import Any

from langmill.config.constraints import require
from langmill.config.typed import settings
from langmill.data.cleaning.base import CLEANING_STEPS, CleaningStep, Draft
from langmill.data.cleaning.detectors.base import DETECTORS, Finder, Found, build_finder, default_kinds, typed_kinds


@settings
class PrivacyOptions:
    """What is looked for, and what stands in its place."""

    kinds: list[str] | None = None
    """What is looked for, by the names that files in src/langmill/data/cleaning/detectors/ register; null takes all
    that need no extra."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The options of each kind, by its name, as in `phone: {regions: [DE]}`; the kind types them."""
    placeholder: str = "<{kind}>"
    """What stands in a value's place; `{kind}` is its kind in capitals."""
    numbered: bool = False
    """Number the values of each kind through a document and its target, so that equal ones have equal placeholders
    (`<EMAIL_1>`)."""

    def __post_init__(self) -> None:
        require(
            "{kind}" in self.placeholder and self.placeholder.count("{") == self.placeholder.count("}") == 1,
            "placeholder",
            self.placeholder,
            "a text with {kind} in it, and no other braces",
        )
        kinds = self.kinds
        require(kinds is None or len(set(kinds)) == len(kinds) > 0, "kinds", kinds, "at least one kind, each once")
        typed_kinds(kinds, self.options)


@CLEANING_STEPS.register("privacy")
class Privacy(CleaningStep):
    """Put a placeholder in the place of personal data and secrets, in the text and in the target.

    Metadata stay as they are: they are in no shard, but in the documents.
    """

    options_class = PrivacyOptions
    options: PrivacyOptions

    def __init__(self, options: PrivacyOptions) -> None:
        super().__init__(options)
        self._finder: Finder = build_finder(options.kinds, options.options)
        self._detectors = self._finder.detectors

    @classmethod
    def plugins(cls, options: PrivacyOptions) -> list[tuple[str, str]]:
        """The detectors."""
        return [(DETECTORS.group, kind) for kind in (default_kinds() if options.kinds is None else options.kinds)]

    def clean(self, document: Draft) -> Draft:
        """The document without them; its changes are the kinds, once for each value."""
        in_text = self._finder.find(document.text)
        in_target = self._finder.find(document.target) if document.target else []
        if not in_text and not in_target:
            return document
        numbers: dict[str, dict[str, int]] = defaultdict(dict)
        text = self._masked(document.text, in_text, numbers)
        target = document.target and self._masked(document.target, in_target, numbers)
        return Draft(text, target, document.metadata, tuple(found.kind for found in (*in_text, *in_target)))

    def _masked(self, text: str, found: list[Found], numbers: dict[str, dict[str, int]]) -> str:
        """The text with placeholders; `numbers` has what was numbered so far, by label and value."""
        parts, at = [], 0
        for start, end, kind in found:
            detector = self._detectors[kind]
            label = detector.label
            if self.options.numbered:
                known = numbers[label]
                label += f"_{known.setdefault(detector.normal(text[start:end]), len(known) + 1)}"
            parts += [text[at:start], self.options.placeholder.replace("{kind}", label)]
            at = end
        return "".join([*parts, text[at:]])
