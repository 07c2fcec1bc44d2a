"""Whether written bodies make functions that parse."""

from __future__ import annotations

import ast
import textwrap

from langmill.data.document import Document
from langmill.scoring.metrics.base import METRICS, Mean


@METRICS.register("valid_python")
class ValidPython(Mean):
    """Share of the functions that parse: the document's text, signature and docstring, and the written body below."""

    title = "Functions that parse"

    def score(self, produced: str, document: Document) -> float:
        """1 for a function that parses.

        The body's first line decides its indentation, as a body is stored without the function's own.
        """
        body = textwrap.indent(textwrap.dedent(produced), "    ")
        try:
            ast.parse(f"{document.text.rstrip()}\n{body}\n")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return 0.0
        return float(bool(produced.strip()))
