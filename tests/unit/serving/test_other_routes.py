"""Structured output, embeddings, translations, and what is said of models and vocabularies, by a started server."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch

from langmill.tokenization.tokenizer import Tokenizer
from tests.unit.serving.asking import ASKED, ask, chat_ids, greedy
from tests.unit.serving.small_server import KEY, LABELS, MAX_LENGTH, METRICS, MODELS, SmallServer

pytestmark = pytest.mark.unit
SCHEMA = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}, "name": {"type": "string", "maxLength": 4}},
    "required": ["good", "name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("name", ["chat", "writer", "gru", "translator"])
def test_an_answer_keeps_to_its_schema_on_every_decoder(client: openai.OpenAI, name: str) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "film", "schema": SCHEMA, "strict": True}}
    for seed in range(4):
        asked: dict[str, Any] = {"model": name, "temperature": 1.0, "seed": seed, "max_tokens": 60}
        if name == "chat":
            answer = client.chat.completions.create(messages=ASKED, response_format=form, **asked)
            text, ending = answer.choices[0].message.content or "", answer.choices[0].finish_reason
        else:
            completion = client.completions.create(prompt="the film", extra_body={"response_format": form}, **asked)
            text, ending = completion.choices[0].text, completion.choices[0].finish_reason
        assert ending == "stop", text
        found = json.loads(text)
        assert found.keys() == {"good", "name"}
        assert isinstance(found["good"], bool)
        assert len(found["name"]) <= 4


def test_other_structures_and_bad_ones(small: SmallServer) -> None:
    def write(**structure: Any) -> httpx.Response:
        return ask(small, "/v1/completions", model="writer", prompt="x", seed=1, max_tokens=40, **structure)

    found = write(structured_outputs={"choice": ["good", "very bad"]}).json()["choices"][0]
    assert (found["text"] in ("good", "very bad"), found["finish_reason"]) == (True, "stop")
    found = write(structured_outputs={"regex": "[ab]{3}c"}).json()["choices"][0]["text"]
    assert (len(found), found[-1]) == (4, "c")
    many = [f"option {number} (of *many*)" for number in range(3000)]
    assert write(structured_outputs={"choice": many}).json()["choices"][0]["text"] in many
    assert write(response_format={"type": "text"}).status_code == 200
    for wrong in (
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"pattern": "("}}}},
        {"structured_outputs": {"regex": "("}},
        {"structured_outputs": {"grammar": "start: foo"}},
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        {"structured_outputs": {"json": "{"}},
        {"response_format": {"type": "json_object"}, "num_beams": 2},
    ):
        answer = write(**wrong)
        assert answer.status_code == 400, wrong
        assert answer.json()["error"]["message"].count("\n") == 0


@pytest.mark.parametrize("name", list(MODELS))
def test_embeddings_of_texts_and_tokens_in_both_formats(small: SmallServer, client: openai.OpenAI, name: str) -> None:
    texts = ["the film", "the plot was not very good, and I liked it"]
    found = client.embeddings.create(model=name, input=texts)  # asks for base64
    rows = np.array([each.embedding for each in found.data])
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1], abs=1e-5)
    ids = [small.models[name].tokenizer.encode(text) for text in texts]
    assert found.usage.prompt_tokens == sum(map(len, ids))
    plain = client.embeddings.create(model=name, input=ids, encoding_format="float")
    assert np.array([each.embedding for each in plain.data]) == pytest.approx(rows, abs=1e-6)
    raw = ask(small, "/v1/embeddings", model=name, input=texts[0], encoding_format="base64").json()["data"][0]
    assert np.frombuffer(base64.b64decode(raw["embedding"]), dtype="<f4") == pytest.approx(rows[0], abs=1e-5)


def test_an_embedding_is_the_mean_of_the_hidden_states(small: SmallServer, client: openai.OpenAI) -> None:
    model = small.models["writer"]
    ids = model.tokenizer.encode("the film was good")
    with torch.inference_mode():
        hidden = model.network.model(torch.tensor([[model.tokenizer.eot_id, *ids]]))[0, 1:].mean(dim=0)
    found = client.embeddings.create(model="writer", input="the film was good").data[0].embedding
    assert found == pytest.approx((hidden / hidden.norm()).tolist(), abs=1e-5)
    with pytest.raises(openai.BadRequestError, match="have 16"):
        client.embeddings.create(model="writer", input="a", dimensions=8)


def test_translations(small: SmallServer) -> None:
    model = small.models["translator"]
    texts = ["the film", "a very good plot"]
    answer = ask(small, "/v1/translate", model="translator", input=texts, num_beams=1, max_tokens=6, target="de").json()
    wanted = [greedy(small, "translator", [*model.tokenizer.encode(text), model.tokenizer.eot_id], 6) for text in texts]
    assert [(each["index"], each["text"], each["source"], each["target"]) for each in answer["choices"]] == [
        (0, wanted[0], "en", "de"), (1, wanted[1], "en", "de"),
    ]  # fmt: skip
    searched = ask(small, "/v1/translate", model="translator", input="the film", max_tokens=6)
    assert (searched.status_code, len(searched.json()["choices"])) == (200, 1)
    refusal = ask(small, "/v1/translate", model="translator", input="the film", target="fr")
    assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "target")
    assert ask(small, "/v1/translate", model="writer", input="the film").status_code == 400


def test_a_classifier_beside_them(small: SmallServer) -> None:
    data = ask(small, "/v1/classify", model="judge", input=["good", "bad"]).json()["data"]
    assert all(each["label"] in LABELS for each in data)


def test_models_say_what_they_can_do(client: openai.OpenAI) -> None:
    cards = {card.id: card for card in client.models.list()}
    assert list(cards) == list(MODELS)
    card: Any = client.models.retrieve("chat")
    assert card.abilities == ["chats", "embeds", "generates"]
    assert card.endpoints == ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    assert (card.context_length, card.version, card.metrics) == (MAX_LENGTH, 1, METRICS)
    translator: Any = cards["translator"]
    assert (translator.abilities, translator.languages) == (["embeds", "generates", "translates"], ["en", "de"])
    judge: Any = cards["judge"]
    assert (judge.abilities, judge.labels) == (["classifies", "embeds"], list(LABELS))
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_monitors_get_their_heads(small: SmallServer) -> None:
    for path, status in (("/health", 200), ("/live", 200), ("/ready", 200), ("/", 200), ("/v1/models", 401)):
        found = httpx.head(f"{small.url}{path}")
        assert (found.status_code, found.content) == (status, b""), path
    assert httpx.get(f"{small.url}/health").json() == {"live": True}


def test_a_vocabulary_can_be_asked(small: SmallServer) -> None:
    tokenizer = small.models["writer"].tokenizer
    ids = tokenizer.encode("the café")
    found = ask(small, "/tokenize", model="writer", prompt="the café", return_token_strs=True).json()
    assert (found["tokens"], found["count"], found["max_model_len"]) == (
        [tokenizer.eot_id, *ids],
        len(ids) + 1,
        MAX_LENGTH,
    )
    assert found["token_strs"][0] == "<|endoftext|>"
    plain = ask(small, "/tokenize", model="writer", prompt="the café", add_special_tokens=False).json()
    assert plain["tokens"] == ids
    assert ask(small, "/detokenize", model="writer", tokens=found["tokens"]).json() == {
        "prompt": "<|endoftext|>the café"
    }
    talk = ask(small, "/tokenize", model="chat", messages=ASKED).json()
    assert talk["tokens"] == chat_ids(small, ("user", "the film"))
    info = httpx.get(
        f"{small.url}/tokenizer_info", params={"model": "chat"}, headers={"Authorization": f"Bearer {KEY}"}
    ).json()
    assert (info["eos_token"], "<|im_start|>" in info["chat_template"]) == ("<|endoftext|>", True)
    assert ask(small, "/tokenize", prompt="x").status_code == 400
    assert ask(small, "/tokenize", model="writer", prompt="<|endoftext|>").json()["tokens"] == [tokenizer.eot_id]


def test_a_text_of_any_length_is_tokenized_while_others_are_answered(
    small: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = small.models["writer"].tokenizer.encode("the café")
    # One text alone is read under Python's lock by the library behind most pretrained vocabularies; a batch is not.
    monkeypatch.delattr(Tokenizer, "encode")
    asked = {"model": "writer", "add_special_tokens": False}
    assert ask(small, "/tokenize", prompt="the café" * 5000, **asked).json()["tokens"] == wanted * 5000
    monkeypatch.undo()
    said = [{"role": "user", "content": "the film " * 10_000}]
    found = ask(small, "/tokenize", model="chat", messages=said)
    assert (found.status_code, found.json()["error"]["code"]) == (400, "context_length_exceeded")
