"""Composing conf/: nothing from outside comes in, texts survive, and the work grows with the files."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from langmill.config import compose, core_yaml, files
from langmill.config.compose import compose_corpus, compose_recipe, compose_serving, load_section, plain
from langmill.config.core_yaml import dump_yaml, literal, quoted
from langmill.config.sections import Corpus
from langmill.errors import ConfigError
from tests.refused import refused

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[3]
SECRET = "s3cret-value-of-the-environment"


@pytest.fixture
def conf(tmp_path, monkeypatch) -> Path:
    """The shipped settings, to change at will."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", SECRET)
    return Path("conf")


WAYS_ROUND = [
    "${oc.env:TOKEN}",
    "${ oc.env:TOKEN}",
    "${oc.env: TOKEN }",
    '"\\x24{oc.env:TOKEN}"',
    '"\\u0024{oc.env:TOKEN}"',
    '"# ${oc.env:TOKEN}"',
    "a#${oc.env:TOKEN}",
    "${${kind}.env:TOKEN}",
    "${oc.${part}:TOKEN}",
    "${oc.env:${variable}}",
    "${oc.decode:${oc.env:TOKEN}}",
    "${oc.select:nothing,${oc.env:TOKEN}}",
    "${oc.env:NOTHING,${oc.env:TOKEN}}",
    "${oc.create:{a: 1}}",
    "${oc.deprecated:name}",
    "${oc.dict.values:split}",
    "${env:TOKEN}",
    "${plugin:TOKEN}",
    "${now:%Y}",
    "${hydra:runtime.cwd}",
    "${python_version:}",
    "${hydra.job.env_set.TOKEN}",
    ">-\n  ${oc.\n  env:TOKEN}",
    "|-\n  ${oc.env:TOKEN}",
]


@pytest.mark.parametrize("written", WAYS_ROUND)
def test_no_setting_looks_into_the_environment(conf, written):
    import os

    for name in ("plugin", "env", "oc.env"):  # as a plug-in may do at any time
        OmegaConf.register_new_resolver(name, lambda key: os.environ.get(key, "x"), replace=True)
    extra = "kind: oc\npart: env\nvariable: TOKEN\nhydra: {job: {env_copy: [TOKEN]}}\n"
    path = conf / "serving" / "default.yaml"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if not line.startswith("api_keys")))
    for text in (f"{extra}api_keys_file: {written}\n", f"api_keys_file: {written}\n"):
        shipped = path.read_text()
        path.write_text(shipped + text)
        with pytest.raises(ConfigError) as caught:
            compose_serving(conf=conf)
        message = str(caught.value)
        assert SECRET not in message
        assert "\n" not in message
        assert message.startswith("conf/serving/default.yaml")
        path.write_text(shipped)
    assert OmegaConf.has_resolver("plugin")  # others in this process keep what is theirs


@pytest.mark.parametrize("written", [each for each in WAYS_ROUND if "\n" not in each and not each.startswith('"')])
def test_no_override_and_no_defaults_list_looks_into_the_environment(conf, written):
    for override in (f"description={written}", f"description='{written}'", f"corpus='{written}'", f"+x='{written}'"):
        with pytest.raises(ConfigError) as caught:
            compose_recipe("reviews-lm", [override], conf)
        assert SECRET not in str(caught.value)
    path = conf / "recipe" / "reviews-lm.yaml"
    path.write_text(path.read_text().replace("/corpus: reviews", f"/corpus: {quoted(written)}"))
    with pytest.raises(ConfigError) as caught:
        compose_recipe("reviews-lm", conf=conf)
    assert SECRET not in str(caught.value)


def test_an_escaped_reference_stays_a_text_for_good(conf, tmp_path):
    """Once resolved it reads like a reference; reading the resolved file must not follow it."""
    path = conf / "corpus" / "base.yaml"
    path.write_text(path.read_text().replace('salt: ""', r'salt: "\\${oc.env:TOKEN}"'))
    corpus = compose_corpus("reviews", conf)
    assert corpus.split.salt == "${oc.env:TOKEN}"
    (tmp_path / "resolved.yaml").write_text(dump_yaml(plain(corpus)))
    assert load_section(Corpus, tmp_path / "resolved.yaml") == corpus


def test_settings_may_name_other_settings(conf):
    path = conf / "recipe" / "reviews-lm.yaml"
    path.write_text(path.read_text() + "gate:\n  min_effect: ${evaluation.confidence}\n")
    assert compose_recipe("reviews-lm", conf=conf).gate.rules["improvement"] == {"min_effect": 0.95}
    assert compose_recipe("reviews-lm", ["description='${name} on ${corpus.name}'"], conf).description == (
        "reviews-lm on reviews"
    )


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("hydra.job.name=x", "impossible"),
        ("+hydra.job.env_copy=[TOKEN]", "unknown"),
        ("hydra.searchpath=[conf]", "impossible"),
    ],
)
def test_hydra_has_no_settings_of_its_own_here(conf, override, code):
    with refused(ConfigError, code, "hydra"):
        compose_recipe("reviews-lm", [override], conf)


@pytest.mark.parametrize(
    "text",
    [
        "a: b",
        "${a}",
        "\\${a}",
        "a\nb",
        "1e5",
        "no",
        "0123",
        "12:30",
        "1_000",
        ".5",
        "~",
        "null",
        "=",
        "<<",
        "# x",
        "???",
    ],
)
def test_texts_survive_composing_writing_and_reading(conf, tmp_path, text):
    written = quoted(literal(text))
    path = conf / "corpus" / "base.yaml"
    path.write_text(path.read_text().replace('salt: ""', f"salt: {written}").replace("text: text", f"text: {written}"))
    path = conf / "corpus" / "reviews.yaml"
    path.write_text(path.read_text().replace("metadata: [source]", f"metadata: [source, {written}]"))
    corpus = compose_corpus("reviews", conf)
    assert (corpus.split.salt, corpus.fields.text, corpus.fields.metadata) == (text, text, ["source", text])
    (tmp_path / "resolved.yaml").write_text(dump_yaml(plain(corpus)))
    assert load_section(Corpus, tmp_path / "resolved.yaml") == corpus


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("version: 1.10", "version is 1.1; allowed is a text, but this was read as a number: quote it as it is meant"),
        ("version: 1E234", "version is 1.0e+234; allowed is a text, but this was read as a number"),
        ("version: true", "version is true; allowed is a text, but this was read as true or false"),
        ("version: 0123", "0123 is another number to each version of YAML; quote it if it is a text"),
    ],
)
def test_what_yaml_would_rewrite_is_refused(conf, written, sentence):
    path = conf / "corpus" / "reviews.yaml"
    path.write_text(path.read_text().replace("version: 0.0.2", written))
    with pytest.raises(ConfigError) as caught:
        compose_corpus("reviews", conf)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("path", ["a/${b}/c.csv", "a\0b"])
def test_a_path_that_dvc_cannot_watch_is_refused(conf, path):
    file = conf / "corpus" / "questions.yaml"
    text = file.read_text()
    assert "path: data/questions.json" in text
    file.write_text(text.replace("path: data/questions.json", f"path: {quoted(literal(path))}"))
    with refused(ConfigError, "impossible", "source.path is", "a path without `${`"):
        compose_corpus("questions", conf)


def test_a_file_is_parsed_once_however_many_use_it(conf, monkeypatch):
    """64 corpora took 21 seconds when each composition parsed all files."""
    shipped = (conf / "corpus" / "reviews.yaml").read_text()
    for number in range(8):
        (conf / "corpus" / f"c{number}.yaml").write_text(shipped.replace("name: reviews", f"name: c{number}"))
    parsed = []
    loader = core_yaml._CoreLoader
    monkeypatch.setattr(core_yaml, "_CoreLoader", lambda text: parsed.append(text) or loader(text))
    core_yaml._parsed.cache_clear()
    files._read.cache_clear()
    for number in range(8):
        compose_corpus(f"c{number}", conf)
    assert len(parsed) == 9  # with the one that they inherit
    for name in ("sentiment", "sentiment-encoder", "sentiment-lstm", "reviews-lm", "reviews-mlm"):
        compose_recipe(name, conf=conf)
    used = len(parsed)
    for name in ("sentiment", "sentiment-encoder", "sentiment-lstm", "reviews-lm", "reviews-mlm"):
        compose_recipe(name, conf=conf)
    assert len(parsed) == used == len(set(parsed))


def test_a_changed_file_is_read_again(conf):
    path = conf / "corpus" / "base.yaml"
    assert compose_corpus("reviews", conf).split.salt == ""
    path.write_text(path.read_text().replace('salt: ""', "salt: new"))
    assert compose_corpus("reviews", conf).split.salt == "new"


def test_a_refused_name_says_so_where_its_settings_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(dump_yaml({compose.REFUSED: "conf/corpus/a.yaml: this and that."}))
    with refused(ConfigError, "failed", "conf/corpus/a.yaml: this and that."):
        load_section(Corpus, path, "source")


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("training/from-scratch.yaml", "seed: 1", "seeed: 1",
         "conf/recipe/sentiment-decoder.yaml: training.seeed is not a setting; did you mean seed? It stands in "
         "conf/training/from-scratch.yaml."),
        ("training/fine-tuning.yaml", "batch_size: 32", "batch_size: many",
         "conf/recipe/sentiment-decoder.yaml: training.batch_size is many; allowed is a whole number. It stands in "
         "conf/training/fine-tuning.yaml."),
        ("training/fine-tuning.yaml", "learning_rate: 1.0e-2", "learning_rate: -1.0",
         "optimizer.learning_rate is -1.0; allowed is above 0 and below 10. It stands in "
         "conf/training/fine-tuning.yaml."),
        ("corpus/reviews.yaml", "version: 0.0.2", "version: 1.10",
         "corpus.source.packages[0].version is 1.1; allowed is a text, but this was read as a number: quote "
         "it as it is meant. It stands in conf/corpus/reviews.yaml."),
        ("recipe/sentiment-decoder.yaml", "training:\n", "training:\n  stepps: 1\n",
         "conf/recipe/sentiment-decoder.yaml: training.stepps is not a setting; did you mean steps?"),
        ("gate/classification.yaml", "metric: accuracy", "metric: null",
         "gate.metric is null; allowed is a text. It stands in conf/gate/classification.yaml."),
    ],
)  # fmt: skip
def test_a_wrong_setting_names_the_file_that_it_stands_in(conf, file, old, new, sentence):
    path = conf / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        compose_recipe("sentiment-decoder", conf=conf)
    assert str(caught.value).endswith(sentence)


@pytest.mark.parametrize(
    ("recipe", "written", "key", "now", "before"),
    [
        ("sentiment", "training: {samples: {a: b}}", "training.samples", "a table", "an empty list"),
        ("sentiment", "training: {optimizer: [adamw]}", "training.optimizer", "a list", "a table"),
        ("dialogues", "task: {options: {length: {most: 9}}}", "task.options.length", "a table",
         "${training.block_length}"),
    ],
)  # fmt: skip
def test_a_table_is_no_list_and_no_reference(conf, recipe, written, key, now, before):
    path = conf / "recipe" / f"{recipe}.yaml"
    head = path.read_text().partition(f"\nname: {recipe}\n")[0]
    path.write_text(f"{head}\nname: {recipe}\n{written}\n")
    with refused(ConfigError, "impossible", f"{path} can't be composed: {key} is {now} in {path}, and {before} before"):
        compose_recipe(recipe, conf=conf)


def test_a_wrong_override_is_named_too():
    with refused(ConfigError, "wrong_type", "training.steps is many", "It stands in the override training.steps=many."):
        compose_recipe("sentiment-decoder", ["training.steps=many"], ROOT / "conf")


def test_a_setting_under_its_old_name_is_warned_of_once_with_its_own_file(conf, caplog):
    path = conf / "corpus" / "reviews.yaml"
    path.write_text(path.read_text().replace("cleaning:\n", "cleaning:\n  min_characters: 7\n"))
    assert compose_recipe("reviews-lm", conf=conf).corpus == compose_corpus("reviews", conf)
    assert caplog.messages == [
        "conf/corpus/reviews.yaml: corpus.cleaning.min_characters is corpus.cleaning.options.length.min_characters now."
    ]


@pytest.mark.parametrize(
    ("added", "overrides", "told"),
    [
        ("training:\n  nodes: 1\n  machines: 1\n", [], ["training.nodes", "training.machines"]),
        ("training:\n  machines: 1\n", ["training.nodes=1"], ["training.machines", "the override training.nodes=1"]),
        (
            "gate: {min_effect: 1, rules: {improvement: {min_effect: 2}}}\ntraining:\n",
            [],
            ["gate.min_effect", "gate.rules.improvement.min_effect"],
        ),
    ],
)
def test_a_setting_under_both_its_names_is_refused(conf, added, overrides, told):
    path = conf / "recipe" / "reviews-lm.yaml"
    path.write_text(path.read_text().replace("training:\n", added, 1))
    with refused(ConfigError, "duplicate", str(path), *told):
        compose_recipe("reviews-lm", overrides, conf)


def test_a_mistyped_step_is_blamed_where_it_stands(conf):
    path = conf / "corpus" / "reviews.yaml"
    path.write_text(path.read_text().replace("cleaning:\n", "cleaning:\n  steps: [markup, characters, lenght]\n"))
    with refused(ConfigError, "unknown", "corpus.cleaning.steps has lenght", "length", str(path)) as caught:
        compose_corpus("reviews", conf)
    assert "base.yaml" not in str(caught.value)
    with refused(ConfigError, "unknown", "corpus.cleaning.steps", f"It stands in {path}"):
        compose_recipe("reviews-lm", conf=conf)
