"""The `langmill` command.

Everything heavy is imported inside the command that needs it: `langmill --help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

import click

from langmill import __version__
from langmill.cli.benchmark import benchmark
from langmill.cli.diff import diff
from langmill.cli.explain import explain
from langmill.cli.export import export
from langmill.cli.key import key
from langmill.cli.look import config, status, why
from langmill.cli.models import classify, generate
from langmill.cli.new.commands import new
from langmill.cli.profile import profile
from langmill.cli.refresh import refresh
from langmill.cli.release import promote, rollback, trace
from langmill.cli.report import compare, report
from langmill.cli.run import evaluate, pull, run, train
from langmill.cli.scan.commands import scan
from langmill.cli.services import deploy, serve, ui
from langmill.cli.show.commands import show
from langmill.cli.storage import fsck, remote
from langmill.cli.tokenizers import tokenizers
from langmill.cli.trial import trial
from langmill.errors import LangmillError, SpaceError, without_passwords
from langmill.lifetime import INTERRUPTED
from langmill.workspace import Workspace

DEBUG_VARIABLE = "LANGMILL_DEBUG"
_BUG = 70  # EX_SOFTWARE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="langmill")
def commands() -> None:
    """Raw text to a served language model, with the provenance of every one.

    Run it in the folder of a workspace (a clone). `langmill COMMAND --help` explains a command with an example. An
    error is one sentence and a non-zero exit code; LANGMILL_DEBUG=1 shows where it came from.
    """


for _command in (
    run, status, why, config, train, evaluate, pull, refresh, report, compare, benchmark, generate, classify, explain,
    promote, rollback, trial, trace, export, serve, key, deploy, ui, new, show, scan, profile, diff, tokenizers, remote,
    fsck,
):  # fmt: skip
    commands.add_command(_command)


def main() -> None:
    """Run the `langmill` process."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an error is one sentence on stderr."""
    try:
        result = commands.main(arguments, prog_name="langmill", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        sentence, code = _explain_error(error)
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exception(error)
        click.echo(without_passwords(sentence), err=True)
        return code
    return result if isinstance(result, int) else 0


def _explain_error(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code of an error."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), error.exit_code
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "langmill"
        return f"{error.format_message().rstrip('.')}. `{path} --help` shows how it is used.", error.exit_code
    if isinstance(error, LangmillError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return (
            "Stopped; what is finished is kept, and the same command resumes, a training from its last checkpoint.",
            INTERRUPTED,
        )
    from langmill.files import full_disk_sentence, is_full_disk

    if is_full_disk(error):
        return full_disk_sentence(getattr(error, "filename", None) or "this workspace"), SpaceError.exit_code
    return f"A bug in Langmill: {type(error).__name__}: {str(error).rstrip('.')}. {_keep_trace()}", _BUG


def _keep_trace() -> str:
    path = Workspace().log("bug")
    with contextlib.suppress(OSError):
        if Workspace().graph_file.is_file():  # else there is no workspace: leave nothing behind
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(without_passwords(traceback.format_exc()), encoding="utf-8")
            return f"The trace is in {path}; please report it."
    return f"{DEBUG_VARIABLE}=1 shows the trace; please report it."
