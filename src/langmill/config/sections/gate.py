"""What a challenger must show: conf/gate/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from langmill.config.typed import settings


@settings
class Gate:
    """What a challenger must show to become champion."""

    renamed_fields: ClassVar[Mapping[str, str]] = {
        "min_effect": "rules.improvement.min_effect",
        "min_documents": "rules.enough_documents.min_documents",
        "min_groups": "rules.enough_documents.min_groups",
    }

    metric: str
    """The metric that decides; one of the task's."""
    rules: dict[str, dict[str, Any] | None]
    """The rules by their names, in the order in which they are asked, each with its options; null leaves one out. A
    name is a file in src/langmill/registry/rules/, or an entry point of another distribution in the group
    langmill.rules."""
