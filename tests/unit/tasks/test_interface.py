"""What other programs make of a model folder: the same texts and probabilities, from the same defaults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from langmill.errors import Code, ConfigError, ModelError
from langmill.models.folder import load_state, write_generation_config
from langmill.models.generation.config import Beams, GenerationConfig, Sampling
from langmill.registry.pyfunc_model import LangmillModel
from langmill.tasks.base import Classifies, Generates
from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.tokenizer import Tokenizer
from tests.refused import refused
from tests.unit.export.models import LABELS, MAX_LENGTH
from tests.unit.export.models import saved as saved_small

from .settings import CONF, tiny_options

pytestmark = pytest.mark.unit
DECODING = {"max_new_tokens": 12, "num_beams": 1}
PROMPTS = ["the film was", "", "very <|endoftext|> dull", "naïve café 映画"]


def options_of(architecture: str) -> dict[str, Any]:
    import yaml

    if architecture in ("decoder", "encoder"):
        return tiny_options()
    values = yaml.safe_load((CONF / "model" / "encoder-decoder-small.yaml").read_text())["options"]
    return {**values, "dim": 16, "num_heads": 2, "hidden_dim": 32}


def saved(folder: Path, tokenizer: Tokenizer, task_name: str, architecture: str, **options: Any) -> LoadedModel:
    """A model of random weights, large enough to have opinions, as training would write it."""
    own_options = options_of(architecture)
    return saved_small(folder, tokenizer, task_name, architecture, model_options=own_options, **options)


def packaged(model: LoadedModel, texts: list[Any], **params: Any) -> pd.DataFrame:
    """What MLflow's package answers."""
    pyfunc = LangmillModel()
    pyfunc.loaded = model
    column = "prompt" if isinstance(model.task, Generates) else "text"
    return pyfunc.predict(None, pd.DataFrame({column: texts}), params)


@pytest.mark.parametrize(
    ("task_name", "architecture", "options"),
    [
        ("language_modelling", "decoder", {}),
        ("completion", "decoder", {"decoding": DECODING}),
        ("text_to_text", "encoder_decoder", {"decoding": DECODING}),
        ("text_to_text", "encoder_decoder", {"decoding": {**DECODING, "num_beams": 3, "keep_placeholders": True}}),
    ],
)
def test_transformers_and_the_package_write_what_langmill_writes(
    tmp_path: Path, tokenizer: Tokenizer, task_name: str, architecture: str, options: dict[str, Any]
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    model = saved(tmp_path / "m", tokenizer, task_name, architecture, **options)
    task, config = model.task, model.generation_config
    assert isinstance(task, Generates) and config is not None
    theirs = AutoTokenizer.from_pretrained(model.folder)
    family = AutoModelForSeq2SeqLM if architecture == "encoder_decoder" else AutoModelForCausalLM
    network = family.from_pretrained(model.folder).eval()
    greedy = {"max_new_tokens": 12} | ({"temperature": 0.0} if config.samples else {})
    texts = [prompt or "the" for prompt in PROMPTS]  # a package refuses an empty text
    assert packaged(model, texts, **greedy)["text"].tolist() == [model.generate(each, greedy, "m") for each in texts]
    own = [model.generate(prompt, greedy, "m") for prompt in PROMPTS]
    for prompt, expected in zip(PROMPTS, own, strict=True):
        asked = task.prompt(_document(prompt)) if hasattr(task, "prompt") else prompt  # the template filled
        encoded = theirs(asked, return_tensors="pt", return_token_type_ids=False)
        assert encoded["input_ids"][0].tolist() == task.prompt_ids(tokenizer, prompt)
        with torch.no_grad():
            ids = network.generate(**encoded, max_new_tokens=12, **({"do_sample": False} if config.samples else {}))
        new = ids[0] if architecture == "encoder_decoder" else ids[0, encoded["input_ids"].shape[1] :]
        assert theirs.decode(new, skip_special_tokens=True) == expected
    assert len(set(own)) > 1
    assert network.generation_config.do_sample is config.samples
    assert network.generation_config.pad_token_id == theirs.pad_token_id == tokenizer.eot_id


def _document(text: str) -> Any:
    from langmill.data.document import Document

    return Document(id="", text=text)


@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
def test_transformers_and_the_package_give_the_same_probabilities(
    tmp_path: Path, tokenizer: Tokenizer, architecture: str
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = saved(tmp_path / "m", tokenizer, "classification", architecture)
    texts = ["the film was good", "the plot was very dull and the actor not", "naïve"]
    assert isinstance(model.task, Classifies)
    own = model.task.probabilities(model.network, tokenizer, texts)
    network = AutoModelForSequenceClassification.from_pretrained(model.folder, trust_remote_code=True).eval()
    theirs = AutoTokenizer.from_pretrained(model.folder)
    encoded = theirs(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        found = network(**encoded).logits.double().softmax(dim=-1).numpy()
    assert abs(found - own).max() < 1e-5
    assert own.max() - own.min() > 0.1
    assert network.config.id2label == dict(enumerate(LABELS))
    answers = packaged(model, texts)
    assert answers["label"].tolist() == [LABELS[row.argmax()] for row in own]
    assert [list(row) for row in answers["probabilities"]] == [list(LABELS)] * 3


@pytest.mark.parametrize("architecture", ["decoder", "encoder"])
def test_no_class_of_theirs_opens_a_classifier_and_pools_otherwise(
    tmp_path: Path, tokenizer: Tokenizer, architecture: str
) -> None:
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    model = saved(tmp_path / "m", tokenizer, "classification", architecture)
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForSequenceClassification.from_pretrained(model.folder, trust_remote_code=False)
    if architecture == "decoder":
        _, info = LlamaForSequenceClassification.from_pretrained(model.folder, output_loading_info=True)
        assert info["missing_keys"] == {"score.weight"}  # and says so


def test_a_classifier_of_before_still_loads(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from safetensors.torch import save_file

    model = saved(tmp_path / "m", tokenizer, "classification", "decoder")
    state = load_state(model.folder)
    state["score.weight"] = state.pop("classifier.weight")
    save_file(state, model.folder / "model.safetensors", metadata={"format": "pt"})
    (model.folder / "generation_config.json").unlink(missing_ok=True)
    older = load_model(model.folder, verify=False)
    assert torch.equal(_score(older.network), _score(model.network))


def _score(network: nn.Module) -> torch.Tensor:
    return network.get_submodule("score").weight.detach()  # type: ignore[return-value]


def test_a_model_folder_of_before_writes_as_its_task_did(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = saved(tmp_path / "m", tokenizer, "language_modelling", "decoder")
    (model.folder / "generation_config.json").unlink()
    config = json.loads((model.folder / "config.json").read_text())
    older = load_model(model.folder, verify=False)
    assert older.generation_config == model.generation_config == GenerationConfig(100, 0.8, top_k=50)
    writing = {
        "max_new_tokens": 9,
        "temperature": 0.5,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    config["langmill"]["task"]["options"] |= {"writing": writing, "context_overlap": 0.25}  # where they stood
    (model.folder / "config.json").write_text(json.dumps(config))
    assert load_model(model.folder, verify=False).generation_config == GenerationConfig(9, 0.5)


def test_a_model_that_is_not_packaged_writes_as_its_evaluation_says(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model, judged = saved(tmp_path / "m", tokenizer, "completion", "decoder"), GenerationConfig(5, 0.0, num_beams=2)
    write_generation_config(tmp_path, model.config, judged.to_json())
    assert load_model(model.folder, verify=False, evaluation=tmp_path).generation_config == judged
    assert (
        load_model(model.folder, verify=False, evaluation=tmp_path / "m2").generation_config == model.generation_config
    )


def test_a_translator_of_before_keeps_placeholders_as_it_did(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = saved(tmp_path / "m", tokenizer, "text_to_text", "encoder_decoder")
    config = json.loads((model.folder / "config.json").read_text())
    writing = {"max_new_tokens": 9, "num_beams": 4, "length_penalty": 0.5, "repetition_penalty": 1.0}
    config["langmill"]["task"]["options"] |= {"writing": writing, "keep_placeholders": True, "metrics": ["chrf"]}
    (model.folder / "config.json").write_text(json.dumps(config))
    shipped = load_model(model.folder, verify=False).generation_config
    assert shipped == GenerationConfig(128, 0.0, num_beams=4, keep_placeholders=True)  # as its file says, but for that
    (model.folder / "generation_config.json").unlink()
    found = load_model(model.folder, verify=False).generation_config
    assert found == GenerationConfig(9, 0.0, num_beams=4, length_penalty=0.5, keep_placeholders=True)
    assert shipped.decoding((0,), {}) == Beams(128, 4, 1.0, (0,), keep_placeholders=True)


def test_the_folders_own_defaults_serve_everyone(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = saved(tmp_path / "m", tokenizer, "language_modelling", "decoder")
    file = model.folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_new_tokens": 3, "do_sample": False}))
    changed = load_model(model.folder, verify=False)
    (whole,) = packaged(changed, ["the film"])["text"]
    (short,) = packaged(model, ["the film"], temperature=0.0, max_new_tokens=3)["text"]
    assert whole == short
    file.write_text("[]")
    with refused(ModelError, "unreadable", str(file)):
        load_model(model.folder, verify=False)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (["a", "b"], "wrong_type"),
        (None, "wrong_type"),
        (3, "wrong_type"),
        (float("nan"), "wrong_type"),
        (b"text", "wrong_type"),
        ("", "missing"),
    ],
)
def test_the_package_judges_texts_only(tmp_path: Path, tokenizer: Tokenizer, row: Any, code: Code) -> None:
    model = saved(tmp_path / "m", tokenizer, "classification", "decoder")
    with refused(ModelError, code, "Row 1"):
        packaged(model, ["the film", row])


SAMPLES = GenerationConfig(9, 0.8, top_k=50)
SEARCHES = GenerationConfig(9, 0.0, num_beams=4, length_penalty=0.5)


def test_what_is_not_asked_is_as_the_model_has_it() -> None:
    assert SAMPLES.decoding((0,), {}) == Sampling(9, 0.8, 50, 1.0, 0.0, 1.0, 1, (0,))
    assert SAMPLES.decoding((0,), {"temperature": 0.0, "top_p": 0.5, "seed": 3}) == Sampling(
        9, 0.0, 50, 0.5, 0.0, 1.0, 3, (0,)
    )
    assert SEARCHES.decoding((0,), {}) == Beams(9, 4, 0.5, (0,))
    assert SEARCHES.decoding((0,), {"length_penalty": 2.0, "max_new_tokens": 5}) == Beams(5, 4, 2.0, (0,))


@pytest.mark.parametrize(
    "asked", [{"temperature": 0.7}, {"repetition_penalty": 1.2}, {"temperature": 0.7, "top_p": 0.9, "seed": 3}]
)
def test_a_search_by_default_gives_way_to_what_it_cannot_obey(asked: dict[str, float]) -> None:
    found = SEARCHES.decoding((0,), asked)
    assert isinstance(found, Sampling)
    assert {name: getattr(found, name) for name in asked} == asked
    assert isinstance(SEARCHES.decoding((0,), {}, searches=False), Sampling)


@pytest.mark.parametrize("asked", [{"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"seed": 1}])
def test_a_search_by_default_refuses_what_it_would_ignore(asked: dict[str, float]) -> None:
    (name,) = asked
    with refused(ConfigError, "impossible", f"{name} is ", "num_beams is 4"):
        SEARCHES.decoding((0,), asked)


@pytest.mark.parametrize(
    "asked",
    [{"temperature": 0.7}, {"repetition_penalty": 1.2}, {"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"seed": 1}],
)
@pytest.mark.parametrize("config", [SAMPLES, SEARCHES])
def test_a_search_that_is_asked_for_refuses_what_it_would_drop(
    config: GenerationConfig, asked: dict[str, float]
) -> None:
    (name,) = asked
    with refused(ConfigError, "impossible", f"{name} is ", "num_beams is 2"):
        config.decoding((0,), {"num_beams": 2, **asked})
    assert isinstance(config.decoding((0,), {"num_beams": 1, **asked}), Sampling)


def test_a_length_penalty_without_a_search_is_refused() -> None:
    with refused(ConfigError, "impossible", "length_penalty is 2", "num_beams"):
        SAMPLES.decoding((0,), {"length_penalty": 2.0})


@pytest.mark.parametrize("config", [SAMPLES, SEARCHES, GenerationConfig(1, 0.0, repetition_penalty=1.3)])
def test_what_is_written_is_read_back(config: GenerationConfig) -> None:
    assert GenerationConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"num_beams": 0}, {"top_p": 0.0}])
def test_impossible_defaults_are_refused(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with refused(ConfigError, "impossible", f"{name} is {value}"):
        GenerationConfig(**{"max_new_tokens": 9, "temperature": 0.8, **wrong})  # type: ignore[arg-type]


def test_the_package_cuts_nothing_silently(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    writer = saved(tmp_path / "w", tokenizer, "language_modelling", "decoder")
    assert isinstance(writer.task, Generates)
    taken = len(writer.task.prompt_ids(tokenizer, "the film"))
    room = MAX_LENGTH - taken + 1
    with refused(ConfigError, "impossible", f"max_new_tokens is {room + 1}", f" {taken} ", f" {room} ", "tiny"):
        packaged(writer, ["the film"], max_new_tokens=room + 1)
    assert len(packaged(writer, ["the film"], max_new_tokens=room)) == 1
    assert len(packaged(writer, ["the film"])) == 1
    judge = saved(tmp_path / "c", tokenizer, "classification", "decoder")
    packaged(judge, ["the film"])
    assert not caplog.records
    packaged(judge, ["the film", "the film " * MAX_LENGTH])
    assert caplog.messages == [
        "tiny reads 48 tokens of a text; 1 of 2 were longer and truncated, as in training: number 2."
    ]
