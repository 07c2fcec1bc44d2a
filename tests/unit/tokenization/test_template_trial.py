"""Chat templates that would not end, take all memory or write without measure."""

from __future__ import annotations

import pytest

from langmill.errors import TokenizerError
from langmill.tokenization.chat_template import CHATML, ChatTemplate
from langmill.tokenization.template_trial import require_bounded
from tests.refused import refused

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "1 s of processor time"),
        ("{{ messages[0].content * 10**9 }}", "1024 MiB"),
        ("{% if messages | length > 30 %}{{ 'a' * 200000 }}{% endif %}", "200,000 characters"),
    ],
    ids=["endless", "huge", "long"],
)
def test_a_template_without_measure_is_refused(source: str, told: str) -> None:
    with refused(TokenizerError, "refused", "the template", told):
        require_bounded(ChatTemplate(source, {"</s>": 2}, where="the template"), seconds=1)


def test_what_ends_passes_also_where_it_refuses_a_conversation() -> None:
    require_bounded(ChatTemplate(CHATML + "{{ raise_exception('No.') if messages | length > 1 }}", {"</s>": 2}))
