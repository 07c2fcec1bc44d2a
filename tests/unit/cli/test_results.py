"""The table that ends a run."""

import pytest

from langmill.cli.results import COLUMNS, table
from langmill.evaluation.estimates import Estimate
from langmill.registry.outcomes import Row

pytestmark = pytest.mark.unit


def test_the_table_tells_metric_interval_baseline_verdict_and_version():
    sentence = "lm version 3 is the champion now."
    row = Row(
        "lm", "bits_per_byte", Estimate(2.25, 2.125, 2.375), "unigram 4.5", "trigram 2.5", "champion", 3, sentence
    )
    head, line = table([row]).splitlines()
    assert head.split() == " ".join(COLUMNS).split()
    assert [cell.strip() for cell in line.split("  ") if cell.strip()] == [
        "lm", "bits_per_byte 2.25", "2.125 to 2.375", "unigram 4.5", "trigram 2.5", "champion", "3",
    ]  # fmt: skip


def test_it_tells_what_was_drawn_and_what_the_base_reached():
    facts = "bits_per_byte", Estimate(2.25, 2.125, 2.375), "unigram 4.5", "-", "champion", 3, "It is."
    head, first, second = table([Row("a", *facts, "20 of 40", "smollm2 2.5"), Row("b", *facts)]).splitlines()
    assert "strong baseline  base as it came  verdict" in head
    assert "bits_per_byte 2.25 (on 20 of 40)" in first and "smollm2 2.5" in first
    assert second.split()[-3:] == ["-", "champion", "3"]
