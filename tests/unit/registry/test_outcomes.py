"""What the flow notes of a recipe once its model is judged, and how long that holds."""

import pytest

from langmill.evaluation.estimates import Estimate
from langmill.files import write_json
from langmill.registry.outcomes import Row, all_settled, read_row, settle, settled

pytestmark = pytest.mark.unit


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A workspace with the folders of one recipe."""
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "build/models/lm/manifest.json", {"files": {}})
    write_json(tmp_path / "build/evaluation/lm/manifest.json", {"files": {}})
    figures = {"value": 2.25, "low": 2.125, "high": 2.375}
    write_json(
        tmp_path / "build/evaluation/lm/metrics.json",
        {
            "primary": "bits_per_byte",
            "examples": 30,
            "test_set": "ab",
            "bits_per_byte": figures,
            "baselines": {
                "trigram": {"strength": "serious", "bits_per_byte": {"value": 2.5}},  # as in evaluations of before
                "unigram": {"strength": "trivial", "bits_per_byte": {"value": 4.5}},
            },
        },
    )
    return tmp_path


def test_a_row_is_read_from_the_note_and_the_evaluation(made):
    sentence = "lm version 3 is the champion now."
    settle("lm", 3, 3, "passed", sentence)
    assert read_row("lm") == Row(
        "lm", "bits_per_byte", Estimate(2.25, 2.125, 2.375), "unigram 4.5", "trigram 2.5", "champion", 3, sentence
    )


def test_a_note_holds_only_for_the_files_and_the_champion_it_was_made_for(made):
    uri = f"sqlite:///{made}/.langmill/mlflow.db"
    assert settled("lm") is None
    settle("lm", 3, None, "refused", "Not better.")
    assert settled("lm").outcome == "refused"
    assert all_settled(["lm"], uri)  # no registry: no champion, as noted
    assert not all_settled(["lm", "other"], uri)
    settle("lm", 3, 2, "refused", "Not better.")
    assert not all_settled(["lm"], uri)  # the champion that was noted is gone
    assert read_row("lm").verdict == "refused"
    settle("lm", 3, None, "cannot tell", "The files are damaged.")
    assert not all_settled(["lm"], uri)  # asked again
    assert read_row("lm").verdict == "cannot tell"
    write_json(made / "build/evaluation/lm/manifest.json", {"files": {"new": ""}})
    assert settled("lm") is None
    assert read_row("lm") is None
