"""An architecture and a task from another package, found by entry points: nothing of Langmill is edited.

docs/guides/extending.md quotes the two modules below.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from langmill.config.compose import compose_recipe, compose_tokenizer, plain
from langmill.data.document import Document, Split, documents_path
from langmill.errors import ConfigError
from langmill.files import read_json, write_manifest, write_text
from langmill.models.base import ARCHITECTURES
from langmill.scoring.metrics.base import METRICS
from langmill.stages import encode, evaluate, tokenizer, train
from langmill.stages.recipe_checks import check_recipe
from langmill.tasks.base import TASKS
from langmill.tasks.loading import load_model
from tests.documents import write_documents
from tests.pipeline.test_recipes import SHRUNK
from tests.refused import refused

pytestmark = pytest.mark.pipeline
ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "extending.md").read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """The code block of the guide that begins with a comment of this name."""
    for block in GUIDE.split("```")[1::2]:
        language, _, code = block.partition("\n")
        if code.startswith(f"# {name}\n"):
            assert language in ("python", "ini", "yaml")
            return code
    raise AssertionError(f"docs/guides/extending.md quotes no {name}")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with the guide's settings, and the guide's package on the path as pip would install it."""
    site = tmp_path / "site"
    for name in ("bag_of_words.py", "first_letter.py", "headline.py", "small.py"):
        write_text(site / "toy" / name, quoted(f"toy/{name}"))
    write_text(site / "toy" / "__init__.py", "")
    write_text(site / "toy-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    write_text(site / "toy-1.0.dist-info" / "entry_points.txt", quoted("entry_points.txt").partition("\n")[2])
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    workspace = tmp_path / "workspace"
    shutil.copytree(ROOT / "conf", workspace / "conf")
    for name in ("model/bag_of_words", "task/headline", "recipe/headlines"):
        text = quoted(f"conf/{name}.yaml").partition("\n")[2]
        write_text(workspace / "conf" / f"{name}.yaml", text)
    monkeypatch.chdir(workspace)
    yield workspace
    # What was registered and imported here is forgotten again: other tests of this process know nothing of it.
    ARCHITECTURES._classes.pop("bag_of_words", None)
    TASKS._classes.pop("headline", None)
    METRICS._classes.pop("first_letter", None)
    for name in ("toy", "toy.bag_of_words", "toy.first_letter", "toy.headline"):
        sys.modules.pop(name, None)


def test_a_toy_architecture_and_a_toy_task_go_through_the_line(workspace: Path) -> None:
    assert "bag_of_words" in ARCHITECTURES.names()
    assert "headline" in TASKS.names()
    assert METRICS.find("first_letter")("first_letter").metric.title == "Right first letters"
    recipe = compose_recipe("headlines", SHRUNK, Path("conf"))
    check_recipe(recipe, "headlines")
    documents = [
        Document(f"d{number}", f"Film {number} is good.\nThe rest of the review.", metadata={"source": "imdb"})
        for number in range(40)
    ]
    for split in Split:
        write_documents(documents_path(Path("build/documents/reviews"), split), documents)
    write_manifest(Path("build/documents/reviews"), {"corpus": "reviews"})
    vocabulary = plain(compose_tokenizer("reviews")) | {"vocab_size": 400}
    write_text(Path("build/config/recipe/headlines.yaml"), yaml.safe_dump(plain(recipe)))
    write_text(Path("build/config/tokenizer/reviews.yaml"), yaml.safe_dump(vocabulary))
    tokenizer.main("reviews")
    for stage in (encode, train, evaluate):
        stage.main("headlines")
    assert read_json(Path("build/evaluation/headlines/metrics.json"))["examples"] == 40
    scores = pq.read_table("build/evaluation/headlines/scores.parquet")
    assert scores["bytes"][0].as_py() == len("Film 0 is good.")  # a score is of what the task learns from
    loaded = load_model(Path("build/models/headlines"), verify=True)
    assert type(loaded.task).__module__ == "toy.headline"
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("Film")) == "Film"


def test_a_task_that_needs_another_kind_of_network_says_so(workspace: Path) -> None:
    recipe = compose_recipe("headlines", [*SHRUNK, "model=encoder-decoder-small"], Path("conf"))
    with refused(ConfigError, "mismatch", "encoder_decoder"):
        check_recipe(recipe, "headlines")
