"""Chat templates: a conversation as the text that a model was tuned on, rendered as `transformers` renders it.

A template is Jinja that other authors wrote, so it runs in Jinja's sandbox and sees nothing but texts. Special tokens
in what people say stay text: before rendering each is replaced by a character for private use that nobody said, so that
every special token in the rendered text is one that the template wrote.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from langmill.errors import TokenizerError

ROLES = ("system", "user", "assistant")
"""Who may speak."""
IM_START, IM_END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Our template for a vocabulary with its two special tokens (ChatML)."""
PLAIN = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\\n' + message['content'] + '\\n' }}"
    "{% else %}{{ 'Assistant:\\n' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
"""Our template for a vocabulary with no special token but end-of-text: it begins a conversation and ends an answer."""
_PRIVATE = range(0xF0000, 0xFFFFE)  # characters for private use
_CACHED = 32  # templates


@dataclass(frozen=True)
class Message:
    """What somebody says."""

    role: str
    """One of `ROLES`."""
    content: str


Piece = str | int
"""A part of a rendered conversation: text in which nothing is special, or the id of a special token."""


@dataclass(frozen=True)
class Rendered:
    """A rendered conversation."""

    text: str
    """As `transformers` renders it, but for the special tokens in people's words (`spoken`)."""
    spoken: Mapping[str, str]
    """What each private character in `text` stands for."""

    def pieces(self, special: Mapping[str, int], start: int = 0, end: int | None = None) -> list[Piece]:
        """The part from `start` to `end`, cut at the special tokens that the template wrote, by their ids."""
        found: list[Piece] = []
        for number, each in enumerate(_split(tuple(special)).split(self.text[start:end])):
            if number % 2:
                found.append(special[each])
            elif each:
                found.append(self.restored(each))
        return found

    def first_special(self, special: Mapping[str, int], start: int) -> tuple[int, int] | None:
        """Where the first special token from `start` on begins and ends."""
        found = _split(tuple(special)).search(self.text, start)
        return found and found.span()

    def restored(self, text: str) -> str:
        """A part of the text with people's words as they said them."""
        return "".join(self.spoken.get(character, character) for character in text) if self.spoken else text


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the tokens that it may write.

    Raises TokenizerError where it is no template (`unreadable`), on first use.
    """

    source: str
    """The Jinja text."""
    special: Mapping[str, int]
    """The id of every special token, by its text."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """`bos_token`, `eos_token` and so on, as the template knows them."""
    where: str = "the chat template"
    """What it comes from, for messages."""

    def render(self, messages: Sequence[Message], *, ask: bool, spoken: Mapping[str, str] | None = None) -> Rendered:
        """Render a conversation.

        Args:
            messages: What was said, in order.
            ask: End where the assistant is to answer (`add_generation_prompt`).
            spoken: The private characters of a rendered conversation that these messages are part of.

        Raises:
            TokenizerError: The template refuses the conversation (`refused`: its own `raise_exception`, such as for a
                system prompt that the model does not know) or fails (`failed`).
        """
        if spoken is None:
            spoken = _placeholders([message.content for message in messages], self.special)
        hide = {text: character for character, text in spoken.items()}
        plain = [{"role": message.role, "content": self._hidden(message.content, hide)} for message in messages]
        try:
            text = _compiled(self.source).render(
                messages=plain, tools=None, documents=None, add_generation_prompt=ask, **self.variables
            )
        except jinja2.TemplateSyntaxError as error:
            raise TokenizerError(
                f"{self.where} is no Jinja template (line {error.lineno}: {error.message}); mend it, or give the task "
                "a template of its own (task.options.template).",
                "unreadable",
            ) from error
        except _RefusedError as error:
            raise TokenizerError(f"{self.where} refuses this conversation: {error.message}", "refused") from error
        except Exception as error:  # whatever foreign code can raise
            raise TokenizerError(
                f"{self.where} fails on this conversation ({type(error).__name__}: {error}); give the task a template "
                "of its own (task.options.template).",
                "failed",
            ) from error
        return Rendered(text, spoken)

    def end_of_turn(self) -> int:
        """The special token that ends an answer.

        Raises TokenizerError where there is none, so that a model could not learn where to stop (`unsupported`), or the
        template fails.
        """
        asked = [Message("user", "a question")]
        rendered = self.render([*asked, Message("assistant", "an answer")], ask=False)
        start = self.answer_start(rendered, asked)
        token = next((piece for piece in rendered.pieces(self.special, start) if isinstance(piece, int)), None)
        if token is None:
            raise TokenizerError(
                f"{self.where} writes no special token after an answer, so a model can't learn where to stop; give "
                "the task a template that does (task.options.template).",
                "unsupported",
            )
        return token

    def answer_start(self, rendered: Rendered, before: Sequence[Message]) -> int:
        """Where in a rendered conversation the answer to its first messages begins.

        Raises TokenizerError where the conversation does not begin as it is asked: the template rewrites earlier turns
        (`unsupported`), or it fails.
        """
        asked = self.render(before, ask=True, spoken=rendered.spoken).text
        if not rendered.text.startswith(asked):
            raise TokenizerError(
                f"{self.where} writes a conversation otherwise once it is answered, so what is learned would not be "
                "what is asked; give the task a template that does not (task.options.template).",
                "unsupported",
            )
        return len(asked)

    def _hidden(self, content: str, hide: Mapping[str, str]) -> str:
        """What somebody says without special tokens, and without an end or a beginning that could become one.

        Words that end with the first half of a special token would be one if the template wrote the other half there.
        """
        if not hide:
            return content
        shown = _split(tuple(self.special)).sub(lambda match: hide[match[0]], content)
        for number in {0, len(shown) - 1} if shown else ():
            if shown[number] in hide:
                shown = shown[:number] + hide[shown[number]] + shown[number + 1 :]
        return shown


def own_template(special: Mapping[str, int]) -> str:
    """Our template, for a vocabulary without one: ChatML where its tokens are there, else turns in plain text."""
    return CHATML if IM_START in special and IM_END in special else PLAIN


def _placeholders(contents: Sequence[str], special: Mapping[str, int]) -> dict[str, str]:
    """A private character, said by nobody, for each special token in people's words and each edge of one."""
    split = _split(tuple(special))
    beginnings, ends, longest = _halves(tuple(special))
    hidden: dict[str, None] = {}
    for content in contents:
        hidden |= dict.fromkeys(match[0] for match in split.finditer(content))
        counts = range(1, 1 + min(longest, len(content)))
        if any(content[-count:] in beginnings for count in counts):
            hidden[content[-1]] = None
        if any(content[:count] in ends for count in counts):
            hidden[content[0]] = None
    if not hidden:
        return {}
    said = set().union(*map(set, contents))
    free = (chr(number) for number in _PRIVATE if chr(number) not in said)
    return {next(free): text for text in hidden}


@functools.lru_cache(_CACHED)
def _halves(tokens: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str], int]:
    """What special tokens begin with and end with, short of the whole, and the length of the longest."""
    beginnings = frozenset(token[:count] for token in tokens for count in range(1, len(token)))
    ends = frozenset(token[-count:] for token in tokens for count in range(1, len(token)))
    return beginnings, ends, max(map(len, tokens))


@functools.lru_cache(_CACHED)
def _split(tokens: tuple[str, ...]) -> re.Pattern[str]:
    """What finds special tokens, the longest first."""
    return re.compile("(" + "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) + ")")


class _RefusedError(jinja2.TemplateError):
    """The template's own `raise_exception`."""


class _GenerationBlock(Extension):
    """`{% generation %}`, by which templates mark the assistant's words for other programs: its content alone."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise _RefusedError(message)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it stands: Jinja's own filter escapes what HTML would take for markup."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's namespace, which keeps no name that begins with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # a template may say namespace(self=...)
        itself, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            _Namespace.require_plain(name)
        jinja2.utils.Namespace.__init__(itself, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace.require_plain(name)
        super().__setitem__(name, value)

    @staticmethod
    def require_plain(name: object) -> None:
        """Raise jinja2.SecurityError for a name that begins with an underscore."""
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"{name!r} begins with an underscore")


class _Dict:
    """`dict` without the attributes of the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


@functools.lru_cache(_CACHED)
def _compiled(source: str) -> jinja2.Template:
    """A template, in the environment that `transformers` gives it (`utils/chat_template_utils.py`, version 5)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment.from_string(source)
