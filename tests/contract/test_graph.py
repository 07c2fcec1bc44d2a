"""dvc.yaml against conf/: both say the same, and what they say can run."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from langmill.config.compose import available, compose_operation, compose_recipe, compose_serving, load_section
from langmill.config.sections import Corpus, Pretrained, Recipe, Tokenizer
from langmill.data.cleaning.base import CLEANING_STEPS
from langmill.data.cleaning.detectors.base import DETECTORS
from langmill.errors import ConfigError
from langmill.evaluation.estimates import METRICS_NAME
from langmill.files import write_text
from langmill.graph.dag import Graph, read_graph
from langmill.models.base import ARCHITECTURES
from langmill.scoring.metrics.base import METRICS
from langmill.stages import compose
from langmill.stages.process import STAGES
from langmill.workspace import Workspace
from tests.pipeline.workspace import edit, keep
from tests.refused import refused

pytestmark = pytest.mark.contract
ROOT = Path(__file__).parents[2]
KEPT = ["minilm", "reviews", "reviews-lm", "sentiment-decoder"]
"""The names among which a mistake is made, besides those that it is about: composing all of them takes seconds."""
OTHERS = {
    "catalogs": ["catalogs-en-de"],
    "encoder": ["reviews-10000", "reviews-mlm", "sentiment-encoder"],
    "lstm": ["reviews-10000", "sentiment-lstm"],
    "minilm": ["sentiment-minilm"],
    "shakespeare": ["shakespeare", "shakespeare-gpt"],
}
"""What is composed as well where a mistake has the word in it."""


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """The shipped settings and graph, to change at will."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def shipped() -> Graph:
    """The graph of the repository, which takes seconds to read."""
    return read_graph(ROOT)


def test_the_shipped_graph_is_the_line_of_the_design(shipped):
    graph = shipped.for_recipes(["sentiment-decoder"])
    upstream = {address: set(stage.upstream) for address, stage in graph.stages.items()}
    assert upstream == {
        "compose": set(),
        "fetch@reviews": {"compose"},
        "clean@reviews": {"compose", "fetch@reviews"},
        "contract@reviews": {"compose", "clean@reviews"},
        "tokenizer@reviews": {"compose", "clean@reviews", "contract@reviews"},
        "encode@reviews-lm": {"compose", "clean@reviews", "contract@reviews", "tokenizer@reviews"},
        "encode@sentiment-decoder": {"compose", "clean@reviews", "contract@reviews", "tokenizer@reviews"},
        "train@reviews-lm": {"compose", "encode@reviews-lm", "tokenizer@reviews"},
        "finetune@sentiment-decoder": {"compose", "encode@sentiment-decoder", "tokenizer@reviews", "train@reviews-lm"},
        "evaluate@sentiment-decoder": {
            "compose",
            "clean@reviews",
            "encode@sentiment-decoder",
            "finetune@sentiment-decoder",
        },
    }
    for address, stage in graph.stages.items():
        assert address == "compose" or "compose" in stage.by_params_only, f"{address} reads settings as whole files"


def test_a_changed_cleaning_step_runs_what_follows_it_again(shipped):
    step = ROOT / "src" / "langmill" / "data" / "cleaning" / "markup.py"
    reading = {
        address for address, node in shipped.nodes.items() if any(step.is_relative_to(dep.fs_path) for dep in node.deps)
    }
    assert {shipped.stage(address).kind for address in reading} == {"compose", "clean"}  # compose checks its options
    again = {
        stage.kind for stage in shipped.stages.values() if shipped.ancestors(stage.address) & (reading - {"compose"})
    }
    assert again == {"contract", "tokenizer", "encode", "train", "finetune", "evaluate"}


def test_what_becomes_readable_is_fetched_anew(shipped):
    formats = ROOT / "src" / "langmill" / "data" / "formats"
    assert any(formats.is_relative_to(dep.fs_path) for dep in shipped.nodes["fetch@questions"].deps)


def test_every_stage_says_what_it_does_and_has_its_module():
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for name, stage in content["stages"].items():
        body = stage.get("do", stage)
        assert body["desc"], name
        commands = body["cmd"] if isinstance(body["cmd"], list) else [body["cmd"]]
        words = commands[0].split()
        assert words[:3] == ["python", "-m", "langmill.stages"], f"{name}: {commands[0]}"
        assert words[3] in STAGES, f"{name}: {commands[0]}"
        assert importlib.util.find_spec(f"langmill.stages.{words[3]}"), name


def test_the_steps_that_run_alone_are_stages():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert set(compose_operation(conf=ROOT / "conf").one_at_a_time) <= set(stages)


def test_every_name_in_the_settings_is_in_the_graph(shipped):
    recipes, pretrained = shipped.names(Workspace().evaluation), set(compose.read_lines(ROOT / "dvc.yaml").pretrained)
    assert sorted(shipped.names(Workspace().model)) == sorted([*recipes, *pretrained])
    assert pretrained <= set(shipped.names(Workspace().tokenizer))
    assert set(compose_operation(conf=ROOT / "conf").recipes) <= set(recipes)
    assert set(compose_serving(conf=ROOT / "conf").recipes) <= set(recipes)
    text = (ROOT / "dvc.yaml").read_text()
    for recipe in available("recipe", ROOT / "conf"):  # an optional one has its line as a comment
        assert recipe in recipes or f"# {recipe}: {{" in text or f"#{recipe}: {{" in text, recipe
    for name in available("pretrained", ROOT / "conf"):
        assert name in pretrained or f"# {name}: {{" in text, name


def test_dvc_compares_the_metrics_of_every_recipe(shipped):
    """Else `dvc metrics diff` shows nothing of a recipe, with exit code 0."""
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    listed = [Workspace().evaluation(name) / METRICS_NAME for name in shipped.names(Workspace().evaluation)]
    assert sorted(content["metrics"]) == sorted(path.as_posix() for path in listed)


def test_compose_writes_each_name_once_and_the_same_bytes_every_time(workspace):
    compose.main()
    lines = compose.read_lines()
    first = {path.relative_to(compose.OUT).as_posix(): path.read_bytes() for path in compose.OUT.rglob("*.yaml")}
    assert set(first) == {
        *(f"corpus/{name}.yaml" for name in lines.corpora),
        *(f"tokenizer/{name}.yaml" for name in lines.tokenizers),
        *(f"pretrained/{name}.yaml" for name in lines.pretrained),
        *(f"recipe/{name}.yaml" for name in lines.recipes),
    }
    groups = {"corpus": Corpus, "tokenizer": Tokenizer, "pretrained": Pretrained, "recipe": Recipe}
    for group, section in groups.items():
        for path in (compose.OUT / group).glob("*.yaml"):
            assert load_section(section, path).name == path.stem
    path = workspace / "conf" / "training" / "from-scratch.yaml"
    path.write_text("# Only a comment.\n" + path.read_text())
    keep(workspace / "dvc.yaml", KEPT)
    compose.main()
    again = {path.relative_to(compose.OUT).as_posix(): path.read_bytes() for path in compose.OUT.rglob("*.yaml")}
    assert len(again) == len(KEPT) + 1  # a corpus and its tokenizer have one name
    assert again == {name: first[name] for name in again}


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "facts"),
    [
        ("dvc.yaml", "reviews: {source: src/langmill/data/sources}", "reviews: {source: data/mine}", "mismatch",
         ("corpora.reviews.source is 'data/mine'", "conf/corpus/reviews.yaml", "'src/langmill/data/sources'")),
        ("dvc.yaml", "reviews: {corpus: reviews}", "reviews: {corpus: others}", "mismatch",
         ("tokenizers.reviews.corpus is 'others'", "conf/tokenizer/reviews.yaml", "'reviews'")),
        ("dvc.yaml", "base: reviews-lm}", "base: another}", "mismatch",
         ("fine_tuned.sentiment-decoder.base is 'another'", "conf/recipe/sentiment-decoder.yaml",
          "'reviews-lm' (training.base)")),
        ("dvc.yaml", "    fine_tuned: &fine_tuned\n",
         "      sentiment-decoder: {corpus: reviews, tokenizer: reviews}\n    fine_tuned: &fine_tuned\n", "duplicate",
         ("dvc.yaml", "sentiment-decoder", "from_scratch", "fine_tuned")),
        ("dvc.yaml", "    tokenizers:\n", "      ghost: {source: ghost.csv}\n    tokenizers:\n", "unknown",
         ("corpus ghost ", "conf/corpus/ghost.yaml", "reviews")),
        ("conf/recipe/sentiment-decoder.yaml", "base: reviews-lm", "base: null", "mismatch",
         ("sentiment-decoder under fine_tuned", "conf/recipe/sentiment-decoder.yaml training.base is null",
          "from_scratch")),
        ("conf/recipe/reviews-lm.yaml", "training:\n", "training:\n  base: sentiment-decoder\n", "mismatch",
         ("reviews-lm under from_scratch", "training.base is sentiment-decoder", "fine_tuned")),
        ("dvc.yaml", "      minilm: {source: src/langmill/data/sources}", "      minilm: {source: data}", "mismatch",
         ("pretrained.minilm.source is 'data'", "conf/pretrained/minilm.yaml", "'src/langmill/data/sources'")),
        ("dvc.yaml", "      minilm: {source: src/langmill/data/sources}\n", "", "unknown",
         ("fine_tuned.sentiment-minilm.tokenizer is 'minilm'",)),
        ("dvc.yaml", "    tokenizers:\n", "    tokenizers:\n      minilm: {corpus: reviews}\n", "duplicate",
         ("minilm", "pretrained", "tokenizers")),
        ("conf/recipe/sentiment-minilm.yaml", "/model: minilm", "/model: encoder-small", "mismatch",
         ("conf/recipe/sentiment-minilm.yaml", "model.architecture is 'encoder'", "pretrained model minilm")),
        ("conf/recipe/sentiment-minilm.yaml", "/tokenizer: minilm", "/tokenizer: reviews", "mismatch",
         (".tokenizer is 'minilm'", "conf/recipe/sentiment-minilm.yaml", "'reviews'")),
        ("conf/recipe/sentiment-encoder.yaml", "/model: encoder-small", "/model: minilm", "mismatch",
         ("sentiment-encoder.yaml", "model.architecture is 'pretrained'", "reviews-mlm", "'encoder'")),
        ("conf/recipe/sentiment-lstm.yaml", "/model: lstm-textbook", "/model: minilm", "missing",
         ("sentiment-lstm.yaml", "training.base is null", "architecture pretrained")),
        ("conf/gate/classification.yaml", "metric: accuracy", "metric: bits_per_byte", "unknown",
         ("conf/recipe/", "gate.metric is 'bits_per_byte'", "accuracy")),
        ("conf/task/classification.yaml", "  options:\n", "  options:\n    typo: 1\n", "unknown",
         ("conf/recipe/", "task.options.typo is not a setting")),
        ("conf/task/classification.yaml", "name: classification", "name: translation", "unknown",
         ("conf/recipe/", "task.name: translation", "classification, completion")),
        ("conf/model/decoder-small.yaml", "  num_layers:", "  layers: 1\n  num_layers:", "unknown",
         ("model.options.layers is not a setting", "num_layers")),
        ("conf/model/decoder-small.yaml", "architecture: decoder", "architecture: transformer", "unknown",
         ("model.architecture: transformer", "decoder")),
        ("conf/recipe/reviews-lm.yaml", "# @package _global_\n", "# Mine.\n# @package _global_\n", "missing",
         ("conf/recipe/reviews-lm.yaml", "first line", "`# @package _global_`")),
        ("conf/corpus/shakespeare.yaml", "name: passages", "name: word", "unknown",
         ("conf/corpus/shakespeare.yaml", "format.name: word", "auto, chatterbot")),
        ("conf/corpus/shakespeare.yaml", "max_characters: 2000}", "max_letters: 2000}", "unknown",
         ("conf/corpus/shakespeare.yaml", "format.options.max_letters is not a setting", "max_characters")),
        ("conf/corpus/reviews.yaml", "max_characters: 20000", "max_characters: 1", "impossible",
         ("reviews.yaml", "cleaning.options.length.max_characters is 1", "min_characters (10)")),
        ("conf/corpus/reviews.yaml", "markup: {}", "copies: {}", "mismatch",
         ("conf/corpus/reviews.yaml", "cleaning.steps has copies", "fields.target")),
        ("conf/corpus/base.yaml", "    - profanity\n", "    - spelling\n", "unknown",
         ("conf/corpus/reviews.yaml", "cleaning.steps: spelling", "characters", "copies")),
        ("conf/corpus/reviews.yaml", "metadata: [source]", "metadata: []", "unknown",
         ("evaluation.slices", "source", "corpus reviews: none")),
        ("conf/corpus/reviews.yaml", "label: label", "label: null", "missing",
         ("conf/corpus/reviews.yaml", "fields.label is null", "classification")),
        ("conf/recipe/sentiment-decoder.yaml", "training:\n", "corpus:\n  cleaning:\n    workers: 5\ntraining:\n",
         "mismatch",
         ("conf/recipe/sentiment-decoder.yaml", "corpus.cleaning", "conf/corpus/reviews.yaml")),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_file_and_field(workspace, file, old, new, code, facts):
    about = [name for word, names in OTHERS.items() if word in f"{file} {old} {new}" for name in names]
    keep(workspace / "dvc.yaml", [*KEPT, *about])
    path = workspace / file
    text = path.read_text()
    assert text.count(old) >= 1, "the shipped file changed; change this test with it"
    path.write_text(text.replace(old, new, 1))
    composed = compose.compose_all(compose.read_lines())
    errors = [error for names in composed.refused.values() for error in names.values()]
    assert any(code == error.code and all(fact in str(error) for fact in facts) for error in errors), errors
    assert set(composed.sections["recipe"]) == set(compose.read_lines().recipes) - set(composed.refused["recipe"])


def test_a_line_without_a_field_that_the_graph_reads_is_refused(workspace):
    path = workspace / "dvc.yaml"
    path.write_text(path.read_text().replace("reviews-lm: {corpus: reviews, tokenizer: reviews}", "reviews-lm: {}"))
    with refused(ConfigError, "impossible", "from_scratch.reviews-lm is {}", "corpus, tokenizer"):
        compose.main()
    assert not compose.OUT.exists()


@pytest.mark.parametrize("name", ["1e5", "true", "123", "no", "0x1f", "2024-01-31", "~", "Upper", "../up"])
def test_a_name_that_yaml_takes_for_something_else_is_refused(workspace, name):
    path = workspace / "dvc.yaml"
    for written in (name, f'"{name}"'):  # quoted it is a text here, and none in the files that DVC writes
        text = (ROOT / "dvc.yaml").read_text()
        path.write_text(text.replace("      poems: {source", f"      {written}: {{source: a}}\n      poems: {{source"))
        with pytest.raises(ConfigError) as caught:
            compose.read_lines()
        assert caught.value.code in ("impossible", "wrong_type") and name in str(caught.value)


def test_a_broken_file_stops_what_uses_it_and_nothing_else(workspace, capsys):
    keep(workspace / "dvc.yaml", [*KEPT, "poems", "spam"])
    (workspace / "conf" / "corpus" / "poems.yaml").write_text("name: [poems\n")
    (workspace / "conf" / "corpus" / "unused.yaml").write_bytes(b"\xff\xfe")
    compose.main()
    error = capsys.readouterr().err
    assert error.count("\n") == error.count("conf/corpus/poems.yaml is not valid YAML") == 1
    out = compose.OUT
    for group, section in (("corpus", Corpus), ("tokenizer", Tokenizer), ("recipe", Recipe)):
        with refused(ConfigError, "failed", "conf/corpus/poems.yaml"):
            load_section(section, out / group / "poems.yaml")
    assert load_section(Recipe, out / "recipe" / "sentiment-decoder.yaml") == compose_recipe("sentiment-decoder")
    with refused(ConfigError, "unreadable", "poems.yaml"):
        compose.require_composed(["poems"])
    compose.require_composed(["sentiment-decoder", "spam"])


def test_a_recipe_whose_base_is_refused_is_told_before_anything_runs(workspace):
    edit(workspace / "conf" / "recipe" / "reviews-lm.yaml", steps=0)
    with refused(ConfigError, "impossible", "reviews-lm.yaml", "training.steps is 0", "1 or more"):
        compose.require_composed(["sentiment-decoder"])


def test_no_recipe_left_is_an_error(workspace):
    keep(workspace / "dvc.yaml", KEPT)
    (workspace / "conf" / "evaluation" / "default.yaml").write_text("seeds: 1\n")
    with refused(ConfigError, "unknown", "evaluation.seeds", "did you mean seed?"):
        compose.main()
    assert not compose.OUT.exists()


ARCHITECTURE = """\
from langmill.models.base import ARCHITECTURES
from langmill.models.decoder import Decoder

@ARCHITECTURES.register("toy")
class Toy(Decoder): ...
"""
STEP = """\
from langmill.data.cleaning.base import CLEANING_STEPS
from langmill.data.cleaning.markup import Markup

@CLEANING_STEPS.register("toy")
class Toy(Markup): ...
"""
DETECTOR = """\
from langmill.data.cleaning.detectors.base import DETECTORS
from langmill.data.cleaning.detectors.email import Email

@DETECTORS.register("toy")
class Toy(Email): ...
"""
METRIC = """\
from langmill.scoring.metrics.base import METRICS
from langmill.scoring.metrics.matching import ExactMatch

@METRICS.register("toy")
class Toy(ExactMatch): ...
"""
LEARNING = [
    "compose", "fetch", "clean", "contract", "tokenizer", "pretrained", "encode", "train", "finetune", "evaluate",
]  # fmt: skip


@pytest.mark.parametrize(
    ("registry", "code", "file", "old", "new", "key", "stages"),
    [
        (ARCHITECTURES, ARCHITECTURE, "model/decoder-small", ": decoder", ": toy", "plugins", LEARNING),
        (CLEANING_STEPS, STEP, "corpus/base", "    - markup\n", "    - markup\n    - toy\n", "plugins", LEARNING),
        (DETECTORS, DETECTOR, "corpus/base", "privacy: null", "privacy: {kinds: [toy]}", "plugins", LEARNING),
        (METRICS, METRIC, "recipe/catalogs-en-de", "[chrf, ", "[chrf, toy, ", "plugins", LEARNING),
        (METRICS, METRIC, "recipe/catalogs-en-de", "[chrf, ", "[chrf, toy, ", "judging", ["compose", "evaluate"]),
    ],
)
def test_the_code_of_plug_ins_is_watched_or_refused(
    workspace, monkeypatch, request, registry, code, file, old, new, key, stages
):
    """A plug-in of another package: refused while no stage watches its folder, taken once dvc.yaml names it."""
    packages = workspace / "packages"
    write_text(packages / "toy_watched.py", code)
    write_text(packages / "toy-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    write_text(packages / "toy-1.0.dist-info" / "entry_points.txt", f"[{registry.group}]\ntoy = toy_watched\n")
    monkeypatch.syspath_prepend(str(packages))
    importlib.invalidate_caches()
    request.addfinalizer(lambda: sys.modules.pop("toy_watched", None))
    request.addfinalizer(lambda: registry._classes.pop("toy", None))
    settings = workspace / "conf" / f"{file}.yaml"
    settings.write_text(settings.read_text().replace(old, new))
    recipes, advised = ["reviews-lm", "catalogs-en-de"], "judging" if registry is METRICS else "plugins"
    with refused(ConfigError, "missing", "the plug-in toy lies in packages", f"`- {advised}: packages`"):
        compose.require_composed(recipes)
    path = workspace / "dvc.yaml"
    path.write_text(re.sub(f"- {key}: .*", f"- {key}: packages", path.read_text()))
    compose.require_composed(recipes)
    watching = yaml.safe_load(path.read_text())["stages"].items()
    assert [name for name, stage in watching if f"${{{key}}}" in stage.get("do", stage)["deps"]] == stages


def test_no_graph_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(ConfigError, "missing", "dvc.yaml"):
        compose.main()
