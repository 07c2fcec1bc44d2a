"""An exported folder answers in transformers as the server does: texts, batches, pipelines, labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from langmill.config.sections import TokenizerPattern
from langmill.export.huggingface import HuggingFace
from langmill.files import read_json, write_json
from langmill.tasks.base import Chats, Classifies, Generates
from langmill.tasks.loading import LoadedModel, load_model
from langmill.tokenization.chat_template import Message
from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.export.models import GREEDY, LABELS, MAX_LENGTH, backbone_of, fine_tuned, registered, saved, vocabulary

pytestmark = pytest.mark.unit
PROMPTS = ["the film was good", "I'd watch it again in 1999", "naïve"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return vocabulary(tmp_path_factory.mktemp("vocabulary"))


def exported(model: LoadedModel, folder: Path) -> Path:
    folder.mkdir()
    HuggingFace().write(registered(model), folder)
    return folder


def own_texts(model: LoadedModel) -> list[str]:
    """What the server writes, greedily."""
    return [
        model.generate(prompt, {"temperature": 0.0, "max_new_tokens": 8, "num_beams": 1}, "m") for prompt in PROMPTS
    ]


def assert_written_alike(model: LoadedModel, folder: Path) -> None:
    """One by one and as a padded batch, with the folder's own special tokens, in the class that the card names."""
    import transformers

    assert isinstance(model.task, Generates)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    auto = "AutoModelForSeq2SeqLM" if model.config.get("is_encoder_decoder") else "AutoModelForCausalLM"
    network = getattr(transformers, auto).from_pretrained(folder).eval()
    assert f"{auto}.from_pretrained(" in (folder / "README.md").read_text(encoding="utf-8")
    assert theirs.model_max_length == model.max_length
    ends = network.generation_config.eos_token_id
    assert {*(ends if isinstance(ends, list) else [ends])} == {*model.task.stop_ids(model.tokenizer)}
    assert network.generation_config.max_new_tokens == model.generation_config.max_new_tokens  # type: ignore[union-attr]
    expected = own_texts(model)
    assert all(expected)
    for prompts in (*([prompt] for prompt in PROMPTS), PROMPTS):
        inputs = theirs(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
        if len(prompts) == 1:
            before, after = backbone_of(model).special_token_template
            read = [*before, *model.task.prompt_ids(model.tokenizer, prompts[0]), *after]
            assert inputs["input_ids"][0].tolist() == read
        with torch.no_grad():
            ids = network.generate(**inputs, max_new_tokens=8, do_sample=False, num_beams=1)
        new = ids if model.config.get("is_encoder_decoder") else ids[:, inputs["input_ids"].shape[1] :]
        found = [theirs.decode(row, skip_special_tokens=True) for row in new]
        assert found == [expected[PROMPTS.index(prompt)] for prompt in prompts]


@pytest.mark.parametrize(
    ("task_name", "architecture"), [("language_modelling", "decoder"), ("text_to_text", "encoder_decoder")]
)
def test_a_model_from_scratch_writes_what_the_server_writes(
    tmp_path: Path, tokenizer: Tokenizer, task_name: str, architecture: str
) -> None:
    options = {"decoding": GREEDY} if task_name == "text_to_text" else {}
    model = saved(tmp_path / "m", tokenizer, task_name, architecture, **options)
    assert len(set(own_texts(model))) > 1
    assert_written_alike(model, exported(model, tmp_path / "out"))


@pytest.mark.parametrize(
    ("family", "head", "task_name"),
    [
        ("Llama", "ForCausalLM", "language_modelling"),
        ("Qwen2", "ForCausalLM", "language_modelling"),
        ("GPT2", "LMHeadModel", "language_modelling"),
    ],
)
def test_a_pretrained_model_writes_what_the_server_writes(
    tmp_path: Path, tokenizer: Tokenizer, family: str, head: str, task_name: str
) -> None:
    if (
        family == "Qwen2"
    ):  # transformers splits texts as Qwen2 does for every model of its type, whatever is in the file
        tokenizer = vocabulary(tmp_path / "t", TokenizerPattern.qwen2)
    model = fine_tuned(tmp_path, tokenizer, family, task_name, head)
    assert_written_alike(model, exported(model, tmp_path / "out"))


@pytest.mark.parametrize(
    ("family", "task_name", "has_template"),
    [("T5", "text_to_text", False), ("Bart", "text_to_text", True), ("Llama", "language_modelling", True)],
)
def test_what_a_pretrained_tokenizer_puts_around_a_text_is_what_the_server_puts_there(
    tmp_path: Path, family: str, task_name: str, has_template: bool
) -> None:
    """A language model reads the end-of-text token before it and nothing else, an encoder its own template too."""
    tokenizer = vocabulary(tmp_path / "t", TokenizerPattern.langmill, "<s>", "</s>")
    if has_template:
        state = read_json(tokenizer.file)
        ids = tokenizer.special_ids
        state["post_processor"] = {
            "type": "RobertaProcessing",
            "sep": ["</s>", ids["</s>"]],
            "cls": ["<s>", ids["<s>"]],
        }
        write_json(tokenizer.file, {**state, "post_processor": {**state["post_processor"], "trim_offsets": True,
                                                                "add_prefix_space": False}})  # fmt: skip
        tokenizer = Tokenizer.load(tokenizer.file)
    head = "ForConditionalGeneration" if task_name == "text_to_text" else "ForCausalLM"
    starts = {"decoder_start_token_id": 0} if task_name == "text_to_text" else {}
    model = fine_tuned(tmp_path, tokenizer, family, task_name, head, **starts)
    folder = exported(model, tmp_path / "out")
    template = backbone_of(model).special_token_template
    assert template == (((1,), (2,)) if has_template and starts else ((), ()))
    assert backbone_of(load_model(folder, verify=True)).special_token_template == template
    assert_written_alike(model, folder)


def test_pipelines_take_batches(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from transformers import pipeline

    writer = saved(tmp_path / "w", tokenizer, "language_modelling", "decoder")
    asked = {"do_sample": False, "max_new_tokens": 8, "return_full_text": False}
    write = pipeline("text-generation", str(exported(writer, tmp_path / "writer")))
    found = [answers[0]["generated_text"] for answers in write(PROMPTS, batch_size=2, **asked)]
    assert found == own_texts(writer)
    labels = saved(tmp_path / "c", tokenizer, "classification", "decoder")
    folder = str(exported(labels, tmp_path / "labels"))
    classify = pipeline("text-classification", folder, trust_remote_code=True, top_k=None)
    own = labels.task.probabilities(labels.network, tokenizer, PROMPTS)  # type: ignore[attr-defined]
    for row, answers in zip(own, classify(PROMPTS, batch_size=2), strict=True):
        given = {answer["label"]: answer["score"] for answer in answers}
        assert given == pytest.approx(dict(zip(LABELS, map(float, row), strict=True)), abs=1e-5)


def test_a_chat_is_asked_as_the_server_asks(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = vocabulary(tmp_path / "t", TokenizerPattern.langmill, "<|im_start|>", "<|im_end|>")
    model = saved(tmp_path / "m", tokenizer, "chat", "decoder")
    folder = exported(model, tmp_path / "out")
    assert isinstance(model.task, Chats)
    theirs = AutoTokenizer.from_pretrained(folder)
    said = [{"role": "user", "content": PROMPTS[0]}]
    inputs = theirs.apply_chat_template(said, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    own = model.task.conversation_ids(tokenizer, [Message("user", PROMPTS[0])])
    assert inputs["input_ids"][0].tolist() == own
    ends = AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id
    assert tokenizer.special_ids["<|im_end|>"] in ends and tokenizer.eot_id in ends
    assert "apply_chat_template" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("family", "head"), [("GPT2", "LMHeadModel"), ("Qwen2", "ForCausalLM"), ("Llama", "ForCausalLM")]
)
def test_a_classifier_on_a_pretrained_decoder_opens_as_what_it_is(
    tmp_path: Path, tokenizer: Tokenizer, family: str, head: str
) -> None:
    """It takes the mean of the tokens, so no class of the library's may open it without saying so."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = fine_tuned(tmp_path, tokenizer, family, "classification", head)
    folder = exported(model, tmp_path / "out")
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
    network = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(
        PROMPTS, return_tensors="pt", padding=True, return_token_type_ids=False
    )
    with torch.no_grad():
        found = network(**inputs).logits.softmax(dim=-1).numpy()
    assert isinstance(model.task, Classifies)
    own = model.task.probabilities(model.network, tokenizer, PROMPTS)
    assert abs(found - own).max() < 1e-5
    assert own.max() - own.min() > 0.01
    assert network.config.id2label == dict(enumerate(LABELS))
    again = load_model(folder, verify=True)
    assert (again.task.probabilities(again.network, tokenizer, PROMPTS) == own).all()  # type: ignore[attr-defined]


def test_a_folder_of_before_is_padded_where_it_must_be(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = saved(tmp_path / "m", tokenizer, "language_modelling", "decoder")
    file = model.folder / "tokenizer_config.json"
    settings: dict[str, Any] = read_json(file)
    assert settings.pop("padding_side") == "left"
    write_json(file, settings)
    assert read_json(exported(model, tmp_path / "out") / "tokenizer_config.json")["padding_side"] == "left"
    assert settings["model_max_length"] == MAX_LENGTH
