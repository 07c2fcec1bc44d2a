"""The cleaning step `privacy`: placeholders, counts, and what refuses its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langmill.data.cleaning.apply import clean_documents
from langmill.data.cleaning.base import Draft, build_steps
from langmill.data.cleaning.detectors.base import DETECTORS
from langmill.data.cleaning.privacy import Privacy, PrivacyOptions
from langmill.errors import ConfigError
from tests.refused import refused
from tests.unit.data.settings import cleaning

pytestmark = pytest.mark.unit


def cleaned(text: str, target: str | None = None, **options: Any) -> Draft:
    done = Privacy(PrivacyOptions(**options)).clean(Draft(text, target, {"from": "x@example.org"}))
    assert not isinstance(done, str)
    return done


def test_text_and_target_get_typed_placeholders_that_are_counted() -> None:
    done = cleaned("Ask a@example.org or b@example.org", "card 4111 1111 1111 1111")
    assert (done.text, done.target) == ("Ask <EMAIL> or <EMAIL>", "card <CARD>")
    assert done.changes == ("email", "email", "card")
    assert done.metadata == {"from": "x@example.org"}


def test_what_holds_none_stays_the_same_object() -> None:
    draft = Draft("Nobody is here.", "Niemand.")
    assert Privacy(PrivacyOptions()).clean(draft) is draft


def test_a_second_time_changes_nothing() -> None:
    once = cleaned("a@example.org, DE89 3704 0044 0532 0130 00, password=hunter22!, +49 30 901820, 8.8.4.200")
    assert once.text == "<EMAIL>, <IBAN>, password=<PASSWORD>, <PHONE>, <IP>"
    again = Draft(once.text)
    assert Privacy(PrivacyOptions()).clean(again) is again


def test_equal_values_have_equal_numbers_if_asked_for() -> None:
    done = cleaned("a@example.org, b@example.org, A@Example.org", "An a@example.org", numbered=True)
    assert done.text == "<EMAIL_1>, <EMAIL_2>, <EMAIL_1>"
    assert done.target == "An <EMAIL_1>"
    ibans = cleaned("DE89 3704 0044 0532 0130 00 = DE89370400440532013000", numbered=True)
    assert ibans.text == "<IBAN_1> = <IBAN_1>"


def test_the_form_of_a_placeholder_and_the_kinds_are_settings() -> None:
    done = cleaned("a@example.org, 536-90-4399", placeholder="[{kind}]", kinds=["us_ssn"])
    assert done.text == "a@example.org, [NATIONAL_ID]"


@pytest.mark.parametrize(
    ("options", "code", "facts"),
    [
        ({"kinds": ["mail"]}, "unknown", ["mail", "email", "phone"]),
        ({"kinds": []}, "impossible", ["kinds"]),
        ({"kinds": ["email", "email"]}, "impossible", ["kinds"]),
        ({"placeholder": "X"}, "impossible", ["placeholder", "{kind}"]),
        ({"options": {"phone": {"regions": ["Germany"]}}}, None, ["regions", "Germany"]),
        ({"options": {"phone": {"region": ["DE"]}}}, None, ["region"]),
        ({"kinds": ["email"], "options": {"phone": {"regions": ["DE"]}}}, "unknown", ["phone", "email"]),
        ({"options": {"phone": {"regions": ["XX"]}}}, "unknown", ["XX"]),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], code: Any, facts: list[str]) -> None:
    with refused(ConfigError, code, *facts) if code else pytest.raises(ConfigError) as error:
        build_steps(cleaning(privacy=options), "tiny.yaml")
    if not code:
        assert all(fact in str(error.value) for fact in facts)


def test_one_line_switches_it_on() -> None:
    steps = build_steps(cleaning(privacy={"kinds": ["email"]}), "tiny.yaml")
    done = clean_documents([Draft("Write to a@example.org today.")], steps)[0]
    assert done.text == "Write to <EMAIL> today."
    assert ("privacy", ("email",)) in done.changes


def test_the_guides_kind_of_ones_own_is_found(request: pytest.FixtureRequest) -> None:
    guide = Path(__file__).parents[4] / "docs" / "guides" / "privacy.md"
    code = guide.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    request.addfinalizer(lambda: DETECTORS._classes.pop("staff_number", None))
    exec(compile(code, str(guide), "exec"), {"__name__": "toy.staff_number"})
    options = PrivacyOptions(kinds=["staff_number", "email"])
    assert Privacy(options).clean(Draft("P-000014 and P-000015")).text == "<STAFF> and P-000015"
    assert (DETECTORS.group, "staff_number") in Privacy.plugins(options)
