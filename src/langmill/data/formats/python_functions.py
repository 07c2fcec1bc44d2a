"""Functions of Python modules with their docstrings (.py), parsed and never run."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from pydantic import PositiveInt

from langmill.config.typed import settings
from langmill.data.formats.base import FORMATS, Format, decoded
from langmill.data.rows import BadRowReason, Raw, Unreadable, Values

_ABBREVIATIONS = ("e.g.", "i.e.", "etc.", "vs.", "cf.")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@settings
class PythonFunctionsOptions:
    """Which functions are taken."""

    max_lines: PositiveInt
    """Functions of more lines, docstring included, are quarantined as too large."""


@FORMATS.register("python_functions")
class PythonFunctions(Format):
    """Every function and method that has a docstring and something else in its body.

    Fields: `name` (with its classes), `module` (the file's path with dots), `signature` (decorators and the `def`
    lines), `docstring` (without its indentation), `summary` (its first sentence or paragraph, in one line), `prompt`
    (signature and docstring as they stand in the file), `body` (what follows them, indented: prompt, new line and body
    are the function), and `code` (the function without its docstring). All are cut from the source, so that comments
    and layout stay, and moved to the left margin. Functions that only hold a place (`pass`, `raise
    NotImplementedError`) are quarantined as unfinished.
    """

    options_class = PythonFunctionsOptions
    file_endings = frozenset({".py"})
    options: PythonFunctionsOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The functions of one module, placed by their first line."""
        try:
            data = file.read()
            text = decoded(data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes that a later Python will refuse
                tree = ast.parse(text)
        except Unreadable as error:
            yield 1, error
            return
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # MemoryError: nested too deeply
            words = f"{type(error).__name__}: {error}"
            yield 1, Unreadable(BadRowReason.unreadable_file, words, num_bytes=len(data))
            return
        module = path.with_suffix("").as_posix().removesuffix("/__init__").replace("/", ".")
        lines = text.split("\n")
        for name, function in _functions(tree):
            docstring = ast.get_docstring(function)
            if docstring is None or not docstring.strip() or len(function.body) < 2:
                continue
            yield _first_line(function), self._values(function, lines, {"name": name, "module": module}, docstring)

    def _values(
        self, function: Function, lines: list[str], names: dict[str, str], docstring: str
    ) -> Values | Unreadable:
        first, last = _first_line(function), int(function.end_lineno or 0)
        if last - first + 1 > self.options.max_lines:
            return Unreadable(BadRowReason.too_large, f"{names['name']}: {last - first + 1} lines")
        if all(_is_stub(statement) for statement in function.body[1:]):
            return Unreadable(BadRowReason.unfinished, f"{names['name']}: {ast.unparse(function.body[1])}")
        opening = function.body[0]
        begin, end = opening.lineno, int(opening.end_lineno or 0)
        whole = _at_margin(lines[first - 1 : last])
        signature, documented = whole[: begin - first], whole[: end - first + 1]
        body = whole[end - first + 1 :]
        shares_a_line = _previous_line(function) >= begin or function.body[1].lineno <= end
        if shares_a_line or not any(line.strip() for line in body):
            return Unreadable(BadRowReason.unexpected_shape, "\n".join(whole))
        return {
            **names,
            "signature": "\n".join(signature),
            "docstring": docstring,
            "summary": _summary(docstring),
            "prompt": "\n".join(documented),
            "body": "\n".join(body),
            "code": "\n".join([*signature, *body]),
        }


def _is_stub(statement: ast.stmt) -> bool:
    """Whether it only holds the place of code: `pass`, `...`, `raise NotImplementedError`."""
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    dots = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return dots or isinstance(statement, ast.Pass)


def _functions(tree: ast.AST) -> Iterator[tuple[str, Function]]:
    """Every function with its name below the module, in the order of the file; those inside functions too.

    Without recursion: a long chain of `elif` is a deep tree.
    """
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        if isinstance(node, Function):
            yield f"{prefix}{node.name}", node
        if isinstance(node, Function | ast.ClassDef):
            prefix = f"{prefix}{node.name}."
        inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]  # they hold no def
        waiting.extend((child, prefix) for child in reversed(inner))


def _first_line(function: Function) -> int:
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def _previous_line(function: Function) -> int:
    """The last line of what stands before the body and has a place of its own."""
    arguments = function.args
    parts: list[ast.expr | ast.arg | None] = [
        *arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg,
        *arguments.defaults, *arguments.kw_defaults, function.returns,
    ]  # fmt: skip
    return max([function.lineno, *(part.end_lineno or 0 for part in parts if part is not None)])


def _at_margin(lines: list[str]) -> list[str]:
    """The lines without the indentation of the first one, where they have it."""
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    return [line.removeprefix(indent) for line in lines]


def _summary(docstring: str) -> str:
    """The first paragraph in one line, or the first sentence of it."""
    paragraph = " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())
    for place, sign in enumerate(paragraph):
        after = paragraph[place + 1 : place + 3]
        begins = len(after) == 2 and after[0] == " " and (after[1].isupper() or after[1] in "`'\"(")
        if sign in ".!?" and begins and not paragraph[max(0, place - 3) : place + 1].lower().endswith(_ABBREVIATIONS):
            return paragraph[: place + 1]
    return paragraph
