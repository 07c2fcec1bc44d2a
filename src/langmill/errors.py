"""Every error that Langmill raises on purpose.

A message is one sentence or two: what was wrong, where, and what to do about it. The command line and the
stages print it without a stack trace and exit with the class's `exit_code`; anything else that escapes is a
bug and keeps its trace (in the log file).
"""

import re
from typing import Literal

Code = Literal[
    "busy",  # someone else holds it; it may pass
    "changed",  # someone else changed it in between
    "damaged",  # its bytes are not those that were promised
    "diverged",  # numbers that are none (NaN, infinity)
    "duplicate",  # two of what there may be one of
    "failed",  # another program or step of ours failed
    "full",  # no space is left
    "impossible",  # a value, or two values together, that can't be meant
    "mismatch",  # two things that must fit together don't
    "missing",  # what is needed is not there
    "not_importable",  # a module can't be imported
    "not_registered",  # a module was imported and did not register what it promised
    "refused",  # another party says no: no permission, a rule
    "stopped",  # it was told to stop
    "too_few",  # too little of it to be worth anything
    "undecided",  # it could not be told; it may pass
    "unknown",  # a name that nothing has
    "unreachable",  # another party does not answer; it may pass
    "unreadable",  # not in the format that it should be in
    "unsupported",  # possible elsewhere, not with this model, script or machine
    "wrong_type",  # a value of another type
]
"""What kind of fault an error tells, for programs and tests: a sentence may get better, a code stays."""
_CREDENTIALS = re.compile(r"""://(?:[^\s/'"]*@|[^\s/'":@]*+:[^\s'"@]*+@|(?P<none>[^\s/'":@]*+:[^\s'"@]*+))""")
"""An address from its scheme's end to its host. SQLAlchemy takes a password with a `/` in it, others one with an `@`.

It sees whole logs, so it takes linear time: it begins at `://`, and what was searched for an `@` once is stepped over
(`none`).
"""


class LangmillError(Exception):
    """Something the user, the data or the machine got wrong, told in a sentence.

    Attributes:
        code: What kind of fault it is; a class whose errors are all of one kind says it once.
    """

    exit_code = 1
    code: str | None = None

    def __init__(self, message: str = "", code: Code | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class TransientError(LangmillError):
    """What may pass by itself: the same call can succeed later. Only these are retried; everything else never helps."""

    exit_code = 75  # EX_TEMPFAIL: try again later


class ConfigError(LangmillError):
    """A setting is unknown, missing, of the wrong type or impossible."""

    exit_code = 2


class FieldError(ConfigError, ValueError):
    """A field's value is refused; to pydantic, which asks for it in a validator, any ValueError.

    Attributes:
        key: The field's dotted name.
    """

    code: Code

    def __init__(self, message: str, key: str = "", code: Code = "impossible") -> None:
        super().__init__(message, code)
        self.key = key


class GraphError(LangmillError):
    """`dvc.yaml` and the rest of the workspace do not fit, or a stage of it failed."""


class DataError(LangmillError):
    """A corpus can't be read, or nothing usable is left of it."""


class SourceError(DataError):
    """A corpus's source can't be had, or is not what its checksum says."""


class SourceUnreachableError(TransientError, SourceError):
    """A corpus's source does not answer."""

    code = "unreachable"


class SourceChangedError(TransientError, SourceError):
    """A corpus's source was written to while it was read."""

    code = "changed"


class TokenizerError(LangmillError):
    """A tokenizer can't be trained or loaded, or does not fit the model."""


class ModelError(LangmillError):
    """A model folder is missing, damaged or made for something else."""


class IntegrityError(LangmillError):
    """A file's bytes are not those that its manifest promises."""

    code = "damaged"


class TrainingError(LangmillError):
    """Training can't start or must stop (a loss that is not a number, no usable checkpoint)."""


class EvaluationError(LangmillError):
    """A model can't be scored, or two score sets can't be compared."""


class TrackingError(LangmillError):
    """The MLflow tracking server refused a call."""


class TrackingUnreachableError(TransientError, TrackingError):
    """The MLflow tracking server can't be reached."""

    code = "unreachable"


class RegistryError(LangmillError):
    """The model registry can't do what was asked."""


class UndecidedError(TransientError, RegistryError):
    """Validation could not tell whether a version works; the next run asks again."""

    code = "undecided"


class ConflictError(TransientError, RegistryError):
    """Someone else moved the alias in between: nothing was changed."""

    code = "changed"


class BusyError(TransientError):
    """Another process holds the lock that this one needs."""

    code = "busy"


class ServingError(LangmillError):
    """The server can't start or can't answer."""


class RequestError(ServingError):
    """A request is refused.

    Attributes:
        status: The HTTP status to answer with.
        param: The request's field that is wrong, if it is one field's fault.
        code: A word for programs, as in OpenAI's API (`model_not_found`).
        retry_after: Seconds after which the same request may be taken, where it was refused for the moment only.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after


class SpaceError(LangmillError):
    """The disk is full."""

    exit_code = 74  # EX_IOERR
    code = "full"


def of_exit_code(code: int) -> type[LangmillError] | None:
    """The kind of error that another process of Langmill told by its exit code; None where the code tells none."""
    return {SpaceError.exit_code: SpaceError, TransientError.exit_code: TransientError}.get(code)


def without_passwords(text: str) -> str:
    """A text without the user names and passwords of the addresses in it: `postgresql://host/db`."""
    return _CREDENTIALS.sub(r"://\g<none>", text)
