"""Placeholders in software messages: what a translation has to keep as it is."""

from __future__ import annotations

import re
from collections import Counter

PLACEHOLDER = re.compile(
    r"%(?:\([A-Za-z0-9_]+\))?(?:[0-9]+\$)?[-+#0]*+[0-9]*+(?:\.[0-9]+)?[sdifgxXcrou]"  # printf
    r"|\$\{[^{}\s]+\}"  # shell and zope
    r"|\{[A-Za-z0-9_.:!\[\]]*\}"  # str.format
    r"|</?[A-Za-z][^<>]*>"  # markup
    r"|&[A-Za-z]+;|&#[0-9]+;"  # entities
    r"|&(?=[^\W_])"  # the accelerator of a menu: which letter it stands at may change
)


def placeholders_in(text: str) -> Counter[str]:
    """How often each placeholder stands in a text."""
    return Counter(PLACEHOLDER.findall(text))
