"""Try a chat template that other people wrote, in a process of its own with limits: it is a program.

Jinja's sandbox bounds what a template sees, and `range`; not how long it runs, nor how much it writes: loops in loops,
`'a' * 10**9`, macros that call each other. The process tried here ends where the limits do.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from typing import Any

from langmill.errors import TokenizerError
from langmill.tokenization.chat_template import ChatTemplate, Message

SECONDS = 10
"""Of processor time, for the process's start and all conversations; a template takes milliseconds."""
_MEMORY = 1 << 30  # bytes of address space
_LONGEST = 100_000  # characters of a conversation of a thousand; published templates add ten thousand at most
_HUNG = 600  # seconds on the clock, should the limits not be kept
_TURNS = 32
_SAID = "Say something in a few words.\n"


def require_bounded(template: ChatTemplate, seconds: int = SECONDS) -> None:
    """Render some conversations with a template in a process of its own, with limits.

    That a template fails on them is not said here.

    Raises:
        TokenizerError: It takes too long, too much memory, or writes too much (`refused`).
    """
    given = {
        "source": template.source,
        "special": dict(template.special),
        "variables": dict(template.variables),
        "seconds": seconds,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "langmill.tokenization.template_trial"],
            input=json.dumps(given), text=True, capture_output=True, timeout=_HUNG, check=False,
        )  # fmt: skip
        written = int(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        written = None
    if written is None or written > _LONGEST:
        wrong = (
            f"takes more than {seconds} s of processor time or {_MEMORY >> 20} MiB to render a short conversation"
            if written is None
            else f"writes {written:,} characters for a short conversation; allowed are {_LONGEST:,}"
        )
        raise TokenizerError(
            f"{template.where} {wrong}. A template is a program, and this one would stop whoever chats; take the model "
            "from elsewhere, or another template.",
            "refused",
        )


def _conversations() -> list[tuple[list[Message], bool]]:
    """What is rendered, and whether it ends where the assistant is to answer."""
    turns = [Message(("user", "assistant")[number % 2], _SAID) for number in range(_TURNS)]
    system = Message("system", _SAID)
    return [([system, *turns[:count]], count % 2 == 1) for count in (1, 2, _TURNS - 1)] + [
        (turns[:count], count % 2 == 1) for count in (1, 2, _TURNS)
    ]


def _try(source: str, special: dict[str, int], variables: dict[str, Any], seconds: int) -> int:
    """Within limits, the most that a template writes, in characters."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    template, longest = ChatTemplate(source, special, variables), 0
    for messages, ask in _conversations():
        try:
            longest = max(longest, len(template.render(messages, ask=ask).text))
        except TokenizerError as error:
            if isinstance(error.__cause__, MemoryError):
                raise
    return longest


if __name__ == "__main__":
    sys.stdout.write(str(_try(**json.load(sys.stdin))))
