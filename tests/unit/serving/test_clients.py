"""OpenAI's client against a started server, LangChain's, and lm-eval over HTTP."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import Any

import numpy as np
import openai
import pytest
import torch
from openai.types import completion_create_params as completion_params
from openai.types import embedding_create_params as embedding_params
from openai.types.chat import completion_create_params as chat_params
from torch.nn import functional as F

from langmill.errors import RequestError
from langmill.scoring.continuations import score_continuations
from langmill.serving.generation import Scoring
from tests.unit.serving.asking import ASKED, ask, chat_ids, greedy
from tests.unit.serving.small_server import KEY, MAX_LENGTH, SmallServer

pytestmark = pytest.mark.unit


def test_a_chat_is_asked_in_the_models_template(small: SmallServer, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="chat", messages=ASKED, max_completion_tokens=9, temperature=0)
    ids = chat_ids(small, ("user", "the film"))
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == greedy(small, "chat", ids, 9)
    assert choice.finish_reason in ("length", "stop")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(ids)
    assert answer.system_fingerprint == "chat:1"


def test_many_turns_a_system_prompt_and_content_in_parts(small: SmallServer, client: openai.OpenAI) -> None:
    parts: Any = [{"type": "text", "text": "is it "}, {"type": "text", "text": "good"}]
    messages: Any = [
        {"role": "developer", "content": "be"}, {"role": "system", "content": "brief"},
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "good", "refusal": None},
        {"role": "user", "content": parts}, {"role": "user", "content": "or bad?"},
    ]  # fmt: skip
    answer = client.chat.completions.create(model="chat", messages=messages, max_tokens=5, temperature=0)
    said = [("system", "be\n\nbrief"), ("user", "hi"), ("assistant", "good"), ("user", "is it good\n\nor bad?")]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(chat_ids(small, *said))
    assert answer.choices[0].message.content == greedy(small, "chat", chat_ids(small, *said), 5)


def test_a_chat_streams(small: SmallServer, client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="chat", messages=ASKED, max_tokens=9, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *answer, last = chunks
    assert (answer[0].choices[0].delta.role, answer[0].choices[0].delta.content) == ("assistant", "")
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    assert text == greedy(small, "chat", chat_ids(small, ("user", "the film")), 9)
    assert [chunk.choices[0].finish_reason for chunk in answer if chunk.choices[0].finish_reason] == ["length"]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.completion_tokens, answer[0].usage) == (9, None)


def test_choices_differ_and_are_repeated_by_their_seed(client: openai.OpenAI) -> None:
    def texts() -> list[str | None]:
        answer = client.chat.completions.create(
            model="chat", messages=ASKED, n=3, seed=4, max_tokens=8, temperature=1.0, logprobs=True, top_logprobs=2
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        for choice in answer.choices:
            assert choice.logprobs is not None
            content = choice.logprobs.content or []
            assert len(content[0].top_logprobs) == 2
            assert all(each.logprob <= 0 for each in content)
        return [choice.message.content for choice in answer.choices]

    first = texts()
    assert len(set(first)) == 3
    assert texts() == first


def test_who_can_not_chat_says_so(client: openai.OpenAI) -> None:
    for name in ("writer", "gru", "translator", "judge"):
        with pytest.raises(openai.BadRequestError, match="can't be asked at /v1/chat/completions"):
            client.chat.completions.create(model=name, messages=ASKED)


@pytest.mark.parametrize("name", ["writer", "gru"])
def test_lists_of_prompts_and_of_tokens(small: SmallServer, client: openai.OpenAI, name: str) -> None:
    tokenizer = small.models[name].tokenizer
    texts = ["the film", "a very long plot that was not good and not bad", "I"]
    ids = [[tokenizer.eot_id, *tokenizer.encode(text)] for text in texts]
    wanted = [greedy(small, name, each, 7) for each in ids]
    for prompt in (texts, ids):
        answer = client.completions.create(model=name, prompt=prompt, max_tokens=7, temperature=0, n=1)
        assert [choice.text for choice in answer.choices] == wanted
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == sum(map(len, ids))
    twice = client.completions.create(model=name, prompt=texts[:2], max_tokens=7, temperature=0, n=2)
    assert [choice.text for choice in twice.choices] == [wanted[0]] * 2 + [wanted[1]] * 2
    events = list(client.completions.create(model=name, prompt=texts, max_tokens=7, temperature=0, stream=True))
    streamed = ["".join(event.choices[0].text for event in events if event.choices[0].index == n) for n in range(3)]
    assert streamed == wanted


def test_echo_and_logprobs(small: SmallServer, client: openai.OpenAI) -> None:
    model = small.models["writer"]
    ids = [model.tokenizer.eot_id, *model.tokenizer.encode("the café")]
    answer = client.completions.create(
        model="writer", prompt="the café", echo=True, logprobs=2, max_tokens=3, temperature=0
    )
    (choice,) = answer.choices
    found = choice.logprobs
    assert choice.text.startswith("the café")
    assert found is not None
    assert found.tokens is not None
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert found.text_offset is not None
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(ids) + 3
    assert (found.tokens[0], found.token_logprobs[0], found.top_logprobs[0]) == ("<|endoftext|>", None, None)
    with torch.inference_mode():
        expected = F.log_softmax(model.network(torch.tensor([ids]))[0].float(), dim=-1)
    for place, token in enumerate(ids[1:], start=1):
        assert found.token_logprobs[place] == pytest.approx(float(expected[place - 1, token]), abs=1e-4)
        assert max(found.top_logprobs[place].values()) == pytest.approx(float(expected[place - 1].max()), abs=1e-4)
    places = list(zip(found.text_offset, found.tokens, strict=True))
    whole = [(offset, token) for offset, token in places if not token.startswith(("bytes:", "<|"))]
    assert all(choice.text[offset:].startswith(token) for offset, token in whole)


def test_prompts_are_scored_together_as_each_alone(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many prompts with a token or none behind each are what lm-eval sends; `exact` reads each by itself."""
    batches: list[int] = []
    run = Scoring.run

    def noted(job: Scoring, items: Any) -> Any:
        batches.append(len(items))
        return run(job, items)

    monkeypatch.setattr(Scoring, "run", noted)
    texts = ["the film", "a very long plot that was not good and not bad", "I", "the film " * 70]
    for name, tokens in (("writer", 1), ("writer", 0), ("gru", 1)):
        asked = {"model": name, "prompt": texts, "max_tokens": tokens, "echo": True, "logprobs": 2, "temperature": 0}
        together = ask(small, "/v1/completions", **asked).json()["choices"]
        for one, other in zip(
            together, ask(small, "/v1/completions", **asked, exact=True).json()["choices"], strict=True
        ):
            assert (one["text"], one["finish_reason"]) == (other["text"], other["finish_reason"])
            found, wanted = one["logprobs"], other["logprobs"]
            assert (found["tokens"], found["text_offset"]) == (wanted["tokens"], wanted["text_offset"])
            assert found["token_logprobs"][1:] == pytest.approx(wanted["token_logprobs"][1:], abs=1e-4)
    assert max(batches) == 3, "the long one is read alone"
    assert sum(batches) == 12


def test_no_logprobs_of_others_are_still_those_of_the_tokens(client: openai.OpenAI) -> None:
    found = client.completions.create(model="writer", prompt="I", logprobs=0, max_tokens=2, temperature=0)
    assert found.choices[0].logprobs is not None
    assert len(found.choices[0].logprobs.token_logprobs or []) == 2
    only = client.completions.create(model="writer", prompt="I am", echo=True, logprobs=0, max_tokens=0)
    assert (only.choices[0].text, only.usage and only.usage.completion_tokens) == ("I am", 0)


def test_biases_and_penalties_are_heard(small: SmallServer, client: openai.OpenAI) -> None:
    token = small.models["writer"].tokenizer.encode("film")[0]
    asked: dict[str, Any] = {"model": "writer", "prompt": "I", "max_tokens": 6, "temperature": 0}
    (forced,) = client.completions.create(**asked, logit_bias={str(token): 100}, logprobs=0).choices
    assert forced.logprobs is not None
    assert len(set(forced.logprobs.tokens or [])) == 1
    (penalised,) = client.completions.create(
        **asked, logit_bias={str(token): 5}, frequency_penalty=2, presence_penalty=2, logprobs=0
    ).choices
    assert penalised.logprobs is not None
    assert len(set(penalised.logprobs.tokens or [])) > 1


def test_neutral_values_and_nulls_are_taken(small: SmallServer) -> None:
    neutral = {
        "n": 1, "store": False, "user": "me", "metadata": {"a": "b"}, "service_tier": "auto", "tools": [],
        "parallel_tool_calls": True, "tool_choice": "none", "response_format": {"type": "text"}, "logprobs": False,
        "modalities": ["text"], "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "stop": None,
        "stream_options": None, "seed": None, "audio": None, "prediction": None,
    }  # fmt: skip
    body = {"model": "chat", "messages": ASKED, "max_tokens": 2}
    assert ask(small, "/v1/chat/completions", **body, **neutral).status_code == 200
    assert ask(small, "/v1/chat/completions", **body, **dict.fromkeys(neutral)).status_code == 200
    assert ask(small, "/v1/chat/completions", **{**body, "model": None}).status_code == 400
    assert ask(small, "/v1/chat/completions", **body, logprobs=False, top_logprobs=0).status_code == 200
    silent = {"role": "assistant", "content": None, "refusal": None, "tool_calls": None}
    several = {**body, "messages": [*ASKED, silent, *ASKED]}
    assert ask(small, "/v1/chat/completions", **several).status_code == 200


@pytest.mark.parametrize(
    ("path", "asked", "params"),
    [
        ("/v1/chat/completions", {"model": "chat", "messages": ASKED, "max_tokens": 1}, chat_params),
        ("/v1/completions", {"model": "writer", "prompt": "x", "max_tokens": 1}, completion_params),
        ("/v1/embeddings", {"model": "writer", "input": "x"}, embedding_params),
    ],
)
def test_every_parameter_of_the_client_may_be_null(
    small: SmallServer, path: str, asked: dict[str, Any], params: ModuleType
) -> None:
    bodies = [
        each for name, each in vars(params).items() if "CreateParams" in name and hasattr(each, "__annotations__")
    ]
    known = {name for body in bodies for name in body.__annotations__}
    assert len(known) >= 5
    found = ask(small, path, **{**dict.fromkeys(known), **asked})
    assert found.status_code == 200, found.text


def test_refusals_are_the_clients_own_errors(small: SmallServer, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt-5", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "a film " * 200}])
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError, match="8999"):
        client.completions.create(model="writer", prompt=[8999, 1])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{small.url}/v1", api_key="?", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError, match="lone_field"):
        client.completions.create(model="writer", prompt="x", extra_body={"lone_field": 1})


def test_the_client_comes_back_when_it_is_told_to(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    sleep, here = time.sleep, threading.current_thread()

    def note(seconds: float) -> None:  # other threads of this process sleep too
        (waited.append if threading.current_thread() is here else sleep)(seconds)

    monkeypatch.setattr("openai._base_client.time.sleep", note)
    submit, refused = small.engine.submit, iter([1, 1])

    def full(job: Any) -> Any:
        if next(refused, None):
            raise RequestError("It is full.", 503, code="overloaded", retry_after=7)
        return submit(job)

    monkeypatch.setattr(small.engine, "submit", full)
    with openai.OpenAI(base_url=f"{small.url}/v1", api_key=KEY, max_retries=2) as patient:
        assert patient.completions.create(model="writer", prompt="x", max_tokens=1).choices
    assert waited == [7, 7]


def test_langchain(small: SmallServer) -> None:
    from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
    from pydantic import SecretStr

    there: Any = {"base_url": f"{small.url}/v1", "api_key": SecretStr(KEY), "max_retries": 0}
    chat = ChatOpenAI(model="chat", temperature=0, **{**there, "max_completion_tokens": 4})
    assert [each.text for each in chat.batch(["the film", "a plot"])] == [
        greedy(small, "chat", chat_ids(small, ("user", said)), 4) for said in ("the film", "a plot")
    ]
    assert "".join(chunk.text for chunk in chat.stream("the film")) == chat.invoke("the film").text
    writer = OpenAI(model="writer", temperature=0, max_tokens=4, **there)
    texts = [f"the {word}" for word in ("film", "plot", "actor", "scene")]
    assert len(writer.batch(texts)) == 4
    assert len(writer.generate(texts).generations) == 4  # one request with all of them
    embeddings = OpenAIEmbeddings(model="judge", check_embedding_ctx_length=False, **there)
    assert np.linalg.norm(embeddings.embed_documents(texts), axis=1) == pytest.approx([1.0] * 4, abs=1e-5)


def test_lm_eval_finds_the_loglikelihoods_of_our_own_evaluation(
    small: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    pairs = [("the film was", " good"), ("the film was", " not very good, I liked the café"), ("I", " liked the plot")]
    for name in ("writer", "gru"):
        model = small.models[name]
        theirs = LocalCompletionsAPI(
            model=name, base_url=f"{small.url}/v1/completions", tokenizer=str(model.folder),
            tokenizer_backend="huggingface", tokenized_requests=True, batch_size=3, max_retries=1,
            max_length=MAX_LENGTH + 1,
        )  # fmt: skip
        instances = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
        found = theirs.loglikelihood(instances, disable_tqdm=True)
        ours = score_continuations(model.network, model.tokenizer, (), pairs, batch_tokens=1024)  # type: ignore[arg-type]
        assert [each[0] for each in found] == pytest.approx([each.log_likelihood for each in ours], abs=1e-4)
        assert [each[1] for each in found] == [each.greedy for each in ours]


def test_lm_eval_asks_for_the_vocabulary_of_a_single_model(small: SmallServer) -> None:
    from lm_eval.utils import RemoteTokenizer, check_remote_tokenizer_support

    url, names = f"{small.url}/v1/completions", list(small.settings.recipes)
    assert not check_remote_tokenizer_support(url, auth_token=KEY, max_retries=1)  # it can't say which model it means
    small.settings.recipes[:] = ["writer"]
    try:
        assert check_remote_tokenizer_support(url, auth_token=KEY)
        theirs, ours = RemoteTokenizer(url, auth_token=KEY), small.models["writer"].tokenizer
        assert (theirs.encode("the café"), theirs.eos_token_id) == (ours.encode("the café"), ours.eot_id)
        assert theirs.decode(ours.encode("the café")) == "the café"
    finally:
        small.settings.recipes[:] = names
