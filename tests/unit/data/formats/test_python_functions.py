"""Functions are cut from the source as they stand there, and never run."""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest

from tests.unit.data.formats.reading import Rows, bad, good, read

pytestmark = pytest.mark.unit
MODULE = '''\
"""The module's own docstring is no function's."""

def undocumented(x):
    return x

@decorator(
    1,
)
def first(a, b=(1,
                2)):  # a comment
    """Add two numbers.  They may be large.

    More on this.
    """
    # why
    return a + b


class Thing:
    """A thing."""

    async def method(self, *, key: int) -> str:
        r\'\'\'Say e.g. `x` of the
        thing. Second sentence.\'\'\'

        text = """
not indented
        """
        def inner():
            "An inner one!"
            return 1
        return text

    def stub(self):
        """Nothing else here."""

    def short(self): "On one line."; return 1

    def commented(self):
        """Only a comment follows."""
        # nothing
        return self

    def abstract(self):
        """To be written."""
        raise NotImplementedError("later")
'''


def functions(text: str = MODULE, path: str = "pkg/mod.py", max_lines: int = 50) -> Rows:
    return good(read("python_functions", text, path, max_lines=max_lines))


def test_functions_with_a_docstring_and_a_body() -> None:
    assert [(place, row["module"], row["name"]) for place, row in functions()] == [
        (6, "pkg.mod", "first"),
        (22, "pkg.mod", "Thing.method"),
        (29, "pkg.mod", "Thing.method.inner"),
        (39, "pkg.mod", "Thing.commented"),
    ]
    assert {row["module"] for _, row in functions(path="pkg/__init__.py")} == {"pkg"}


def test_the_parts_of_a_function() -> None:
    first = functions()[0][1]
    assert first["signature"] == "@decorator(\n    1,\n)\ndef first(a, b=(1,\n                2)):  # a comment"
    assert first["docstring"] == "Add two numbers.  They may be large.\n\nMore on this."
    assert first["summary"] == "Add two numbers."
    assert first["prompt"] == first["signature"] + (
        '\n    """Add two numbers.  They may be large.\n\n    More on this.\n    """'
    )
    assert first["body"] == "    # why\n    return a + b"
    assert first["code"] == f"{first['signature']}\n{first['body']}"


def test_methods_are_moved_to_the_margin_and_their_strings_stay() -> None:
    method = functions()[1][1]
    assert method["signature"] == "async def method(self, *, key: int) -> str:"
    assert method["summary"] == "Say e.g. `x` of the thing."
    assert method["body"].startswith('\n    text = """\nnot indented\n    """\n    def inner():')


def test_prompt_and_body_are_the_function_again() -> None:
    source = inspect.getsource(textwrap)
    rows = functions(source, "textwrap.py", max_lines=400)
    assert len(rows) > 5
    for _, row in rows:
        whole = ast.parse(f"{row['prompt']}\n{row['body']}").body[0]
        assert isinstance(whole, ast.FunctionDef)
        assert ast.get_docstring(whole) == row["docstring"]
        without = ast.parse(row["code"]).body[0]
        assert isinstance(without, ast.FunctionDef)
        assert ast.dump(ast.Module(without.body, [])) == ast.dump(ast.Module(whole.body[1:], []))
        assert row["docstring"] not in row["code"]


def test_what_can_not_be_cut_or_is_too_large_is_quarantined() -> None:
    assert bad(read("python_functions", MODULE, "a.py", max_lines=50)) == [
        (37, "unexpected_shape"), (44, "unfinished"),
    ]  # fmt: skip
    assert bad(read("python_functions", MODULE, "a.py", max_lines=10))[0] == (6, "too_large")


@pytest.mark.parametrize("text", ["def f(:\n", "x = '\\N{no such}'\n", "\0", "print 'old'"])
def test_a_file_that_is_no_python(text: str) -> None:
    assert bad(read("python_functions", text, "a.py", max_lines=9)) == [(1, "unreadable_file")]


def test_nothing_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    functions("print('run')\ndef f(x=print('run')):\n    'doc'\n    return x\n")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("docstring", "summary"),
    [
        ("One line", "One line"),
        ("\n    Over\n    two lines.\n\n    More.", "Over two lines."),
        ("Return 1.5 of it. Then stop.", "Return 1.5 of it."),
        ("Takes x, i.e. Unix times. Done.", "Takes x, i.e. Unix times."),
        ("Is it? Yes.", "Is it?"),
        ("f(x) -> y. lower goes on", "f(x) -> y. lower goes on"),
    ],
)
def test_summaries(docstring: str, summary: str) -> None:
    rows = functions(f'def f():\n    """{docstring}"""\n    return 1\n')
    assert rows[0][1]["summary"] == summary


def test_a_deep_tree_is_walked() -> None:
    chain = "if x:\n    y\n" + "elif x:\n    y\n" * 900
    text = f'x = {" + ".join("1" * 900)}\n{chain}\ndef f():\n    """Add."""\n    return 1\n'
    assert [values["name"] for _, values in good(read("python_functions", text, "a.py", max_lines=9))] == ["f"]
