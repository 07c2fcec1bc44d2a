"""The error tree: what may be tried again, what another process tells by its exit code, and no password in words."""

import pytest

from langmill import errors
from tests.unit.timing import require_linear

pytestmark = pytest.mark.unit


def test_only_what_may_pass_by_itself_is_transient():
    tree = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.LangmillError)]
    transient = {each.__name__ for each in tree if issubclass(each, errors.TransientError)}
    assert transient == {
        "TransientError", "SourceUnreachableError", "SourceChangedError", "TrackingUnreachableError", "ConflictError",
        "BusyError", "UndecidedError",
    }  # fmt: skip
    assert {each.exit_code for each in tree if each.__name__ in transient} == {75}


@pytest.mark.parametrize(
    ("code", "kind"),
    [(74, errors.SpaceError), (75, errors.TransientError), (1, None), (2, None), (70, None), (0, None)],
)
def test_kinds_by_exit_code(code, kind):
    assert errors.of_exit_code(code) is kind


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("postgresql+psycopg2://me:s3@cret@db/x", "postgresql+psycopg2://db/x"),
        ("mysql://me:s3/cret@db/x", "mysql://db/x"),
        ("'https://me:s3cret@h/a' and http://token@h", "'https://h/a' and http://h"),
        ("sqlite:///.langmill/mlflow.db", "sqlite:///.langmill/mlflow.db"),
        ("https://h/@scope/name and me@h", "https://h/@scope/name and me@h"),
        ("http://h:80/a and mysql://me:s3://cret@db/x", "http://h:80/a and mysql://db/x"),
        ("http://h:80/?a=x://h:1 b://me:s3cret@db", "http://h:80/?a=x://h:1 b://db"),
        (f"{'x' * 200}://me:s3cret@db", f"{'x' * 200}://db"),
    ],
)
def test_passwords_are_not_shown(text, shown):
    assert errors.without_passwords(text) == shown


@pytest.mark.parametrize("unit", ["a", "a://", "a://b:", "://b:c", "://b/", "a://b@", "'a://b:c"])
def test_hiding_them_takes_linear_time(unit):
    require_linear(errors.without_passwords, lambda size: unit * (size // len(unit)))
