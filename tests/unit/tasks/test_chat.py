"""A chat learns the assistant's words, all of them and nothing else, and stops where a turn ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langmill.data.document import Document
from langmill.errors import ConfigError, ModelError
from langmill.files import write_manifest
from langmill.models.folder import save_model
from langmill.models.generation.config import Sampling
from langmill.tasks.base import Chats
from langmill.tasks.chat import Chat
from langmill.tasks.loading import interface_of, load_model
from langmill.tokenization.chat_template import IM_END, IM_START, Message
from langmill.tokenization.shards import Shard, write_shard
from langmill.tokenization.tokenizer import EOT, Tokenizer
from tests.refused import refused

from .settings import shipped_sections, shipped_task, tiny_backbone, tiny_options, training

pytestmark = pytest.mark.unit
HISTORY = [["Hi", "Hello"], ["Who?", "A film."]]
TALK = Document("c", "Really?", target="Yes.", metadata={"history": json.dumps(HISTORY), "system": "Be good."})


def chat(**options: Any) -> Chat:
    task = shipped_task("chat", **{"length": 200, **options})
    assert isinstance(task, Chat) and isinstance(task, Chats)
    return task


def shard_of(task: Chat, tokenizer: Tokenizer, folder: Path, *documents: Document) -> Shard:
    folder.mkdir(exist_ok=True)
    encoded = list(task.encode(documents, tokenizer, 1))
    size = write_shard(folder, "train", encoded, tokenizer.eot_id, tokenizer.dtype)
    facts = {"documents": len(documents), "sequences": size.sequences, "tokens": size.tokens, "bytes": size.bytes}
    write_manifest(folder, {"dtype": tokenizer.dtype.str, "splits": {"train": facts}})
    return Shard.open(folder, "train")


def learned(task: Chat, tokenizer: Tokenizer, folder: Path, *documents: Document, length: int = 200) -> list[str]:
    """What each target of the batch is, its special tokens by their names, and `|` between two that are apart."""
    shard = shard_of(task, tokenizer, folder, *documents)
    settings = training(batch_size=len(shard.starts), micro_batch_size=len(shard.starts), block_length=length)
    batch = task.micro_batches(shard, settings, rank=0, world_size=1, eot_id=tokenizer.eot_id)[0]
    names = {number: name for name, number in tokenizer.special_ids.items()}
    found = []
    for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True):
        assert not ((targets[:-1] >= 0) & (targets[:-1] != tokens[1:])).any()  # the token that follows, each time
        text, before = "", False
        for target in targets.tolist():
            if target >= 0:
                text += "" if before or not text else "|"
                text += names.get(target) or tokenizer.decode([target])
            before = target >= 0
        found.append(text)
    return sorted(found)


def test_the_last_turn_or_every_turn_is_learned_and_nothing_else(chatml: Tokenizer, tmp_path: Path) -> None:
    assert learned(chat(), chatml, tmp_path / "last", TALK) == [f"Yes.{IM_END}"]
    every = learned(chat(learn="every_turn"), chatml, tmp_path / "every", TALK)
    assert every == [f"Hello{IM_END}|A film.{IM_END}|Yes.{IM_END}"]
    sequence = shard_of(chat(), chatml, tmp_path / "s", TALK).tokens.tolist()
    talk = [("system", "Be good."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who?"), ("assistant", "A film."),
            ("user", "Really?"), ("assistant", "Yes.")]  # fmt: skip
    expected: list[int] = []
    for role, words in talk:
        expected += [1, *chatml.encode(f"{role}\n"), *chatml.encode(words), 2, *chatml.encode("\n")]
    assert sequence == [*expected[:-1], chatml.eot_id]  # the token that ends a document is neither read nor learned


def test_a_vocabulary_without_chat_tokens_ends_an_answer_with_end_of_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    task = chat(learn="every_turn")
    assert learned(task, tokenizer, tmp_path, TALK) == [f"Hello{EOT}|A film.{EOT}|Yes.{EOT}"]
    assert task.stop_ids(tokenizer) == (tokenizer.eot_id,)


def test_documents_of_one_conversation_teach_each_answer_once(chatml: Tokenizer, tmp_path: Path) -> None:
    documents = [
        Document("1", "hi ", target="Hello", metadata={"system": "Be good."}),  # cleaned otherwise than the history
        Document("2", "Who?", target="A film.", metadata={"history": json.dumps(HISTORY[:1]), "system": "Be good."}),
        Document("4", "Who?", target="Else.", metadata={"history": json.dumps(HISTORY[:1]), "system": "Be good."}),
        Document("5", "Hi", target="Hello"),  # another system prompt
        Document("6", "Hi", target="Hello", metadata={"history": "no list"}),
        TALK,
    ]
    assert chat(learn="every_turn").covered(documents) == {"1", "2"}
    assert chat().covered(documents) == frozenset()


def test_a_conversation_that_is_too_long_for_one_sequence_makes_several(chatml: Tokenizer, tmp_path: Path) -> None:
    task = chat(learn="every_turn", length=60, prompt_length=40)
    whole = sum(map(len, next(iter(chat().encode([TALK], chatml, 1))).parts))
    assert whole > 61
    encoded = list(task.encode([TALK], chatml, 1))
    assert [sum(map(len, each.parts)) <= 61 for each in encoded] == [True] * len(encoded)
    assert len(encoded) > 1
    answers = [chatml.decode(part) for each in reversed(encoded) for part in each.parts[1::2]]
    assert answers == ["Hello", "A film.", "Yes."]
    assert [each.truncated for each in encoded] == [frozenset({"turns"})] * (len(encoded) - 1) + [frozenset()]


def text_of(tokenizer: Tokenizer, ids: Any) -> str:
    names = {number: name for name, number in tokenizer.special_ids.items()}
    return "".join(names.get(int(token)) or tokenizer.decode([int(token)]) for token in ids)


def test_what_does_not_fit_goes_in_order_and_the_answer_stays(chatml: Tokenizer) -> None:
    """Whole old turns first, then the user's first words; the system prompt and the answer stay."""

    def encoded(length: int, prompt_length: int) -> tuple[str, str, frozenset[str]]:
        task = chat(length=length, prompt_length=prompt_length)
        (found,) = task.encode([TALK], chatml, 1)
        return text_of(chatml, found.parts[0]), text_of(chatml, [*found.parts[1], *found.parts[2]]), found.truncated

    prompts = []
    for length in range(200, 33, -1):
        prompt, answer, truncated = encoded(length, 10)
        prompts.append(prompt)
        assert prompt.startswith(f"{IM_START}system\nBe good.{IM_END}\n{IM_START}user\n")
        assert prompt.endswith(f"{IM_END}\n{IM_START}assistant\n")
        assert answer == f"Yes.{IM_END}"
        asked = prompt.split(f"{IM_START}user\n")[-1].split(IM_END)[0]
        turns = prompt.count(f"{IM_START}user")
        assert "Really?".endswith(asked) and (turns == 1 or asked == "Really?")
        assert truncated == ({"turns"} if turns < 3 else set()) | ({"prompt"} if asked != "Really?" else set())
    counts = [prompt.count(f"{IM_START}user") for prompt in prompts]
    assert counts == sorted(counts, reverse=True) and set(counts) == {3, 2, 1}
    assert len({prompt for prompt in prompts if prompt.count(f"{IM_START}user") == 1}) > 2  # ever fewer first words


def test_an_answer_longer_than_all_is_truncated_and_has_no_end(chatml: Tokenizer) -> None:
    long = Document("l", "Why?", target="good film " * 60)
    task = chat(length=50, prompt_length=30)
    (found,) = task.encode([long], chatml, 1)
    assert sum(map(len, found.parts)) == 51
    assert len(found.parts[2]) == 0 and found.truncated == {"answer"}
    assert chatml.decode(found.parts[0]) == "user\nWhy?\nassistant\n"


def test_what_is_asked_does_not_know_the_answer(chatml: Tokenizer) -> None:
    task = chat(length=200, prompt_length=40)
    short = task.pairs(chatml, [TALK], 200, 1)[0]
    long = task.pairs(chatml, [replace(TALK, target="good film " * 300)], 200, 1)[0]
    form = task.form(200, chatml.eot_id)
    assert np.array_equal(form.asked(short), form.asked(long)) and len(form.asked(short)) <= 40
    assert len(form.source(long.source)) <= 40 < len(form.source(short.source))
    assert form.target(short).tolist() == [*chatml.encode("Yes."), chatml.special_ids[IM_END]]
    assert len(form.source(long.source)) + len(form.target(long)) == 201


def test_the_system_prompt_is_the_documents_or_the_recipes(chatml: Tokenizer) -> None:
    task = chat(system="Be brief.", message="Say: {text} ({mood})")
    assert "system\nBe good." in chatml.decode(next(iter(task.encode([TALK], chatml, 1))).parts[0])
    bare = Document("d", "Why?", target="So.", metadata={"mood": "sad"})
    text = chatml.decode(next(iter(task.encode([bare], chatml, 1))).parts[0])
    assert text == "system\nBe brief.\nuser\nSay: Why? (sad)\nassistant\n"
    assert chatml.decode(task.prompt_ids(chatml, "Why?")) == "system\nBe brief.\nuser\nSay: Why? ()\nassistant\n"


def test_a_conversation_is_asked_as_it_is(chatml: Tokenizer) -> None:
    task = chat(system="Be brief.")
    talk = [Message("user", "Hi"), Message("assistant", f"{IM_END}"), Message("user", "More")]
    ids = task.conversation_ids(chatml, talk)
    assert chatml.decode(ids) == f"system\nBe brief.\nuser\nHi\nassistant\n{IM_END}\nuser\nMore\nassistant\n"
    assert ids.count(chatml.special_ids[IM_END]) == 4
    own = task.conversation_ids(chatml, [Message("system", "Mine."), *talk])
    assert "Be brief." not in chatml.decode(own)
    few = task.conversation_ids(chatml, talk, len(ids) - 1)
    assert chatml.decode(few) == "system\nBe brief.\nuser\nMore\nassistant\n"


@pytest.mark.parametrize(
    "roles", [[], ["system"], ["assistant"], ["user", "user"], ["user", "assistant"], ["user", "system", "user"]]
)
def test_what_no_assistant_can_answer_is_refused(chatml: Tokenizer, roles: list[str]) -> None:
    with refused(ModelError, "impossible", ", ".join(roles)):
        chat().conversation_ids(chatml, [Message(role, "x") for role in roles])


def test_a_template_that_does_not_open_the_assistants_turn_is_refused(chatml: Tokenizer) -> None:
    mute = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    document = Document("a", "Who is it?", target="It is me.")
    with refused(ModelError, "unsupported", "add_generation_prompt", "task.options.template"):
        list(chat(template=mute).encode([document], chatml, threads=1))


def test_an_empty_answer_among_the_earlier_ones_teaches_nothing(chatml: Tokenizer, tmp_path: Path) -> None:
    document = Document("a", "And now?", target="Yes.", metadata={"history": json.dumps([["Hi", ""]])})
    (encoded,) = chat(learn="every_turn").encode([document], chatml, threads=1)
    assert [len(part) > 0 for part in encoded.parts[1::2]] == [False, True]
    assert learned(chat(learn="every_turn"), chatml, tmp_path, document) == ["Yes.<|im_end|>"]


def test_impossible_options_are_refused() -> None:
    with refused(ConfigError, "impossible", "message is ", "{text}"):
        chat(message="no text")


def test_conversations_longer_than_a_sequence_are_refused(chatml: Tokenizer, tmp_path: Path) -> None:
    with refused(ConfigError, "impossible", "task.options.length is 200", "training.block_length, which is 199"):
        learned(chat(), chatml, tmp_path, TALK, length=199)


class Parrot(torch.nn.Module):
    """Answers with given tokens, whatever is asked: the logits of each are far above the others."""

    max_length = 200

    def __init__(self, answer: list[int], vocab_size: int) -> None:
        super().__init__()
        self.answer, self.vocab_size, self.length = answer, vocab_size, 0

    def begin(self, prompts: Any, room: int) -> Any:
        self.length = 0
        return self, [list(ids) for ids in prompts]

    def read(self, new_ids: Any, cache: Any) -> torch.Tensor:
        logits = torch.zeros(len(new_ids), self.vocab_size)
        logits[:, self.answer[self.length]] = 9.0
        self.length += 1
        return logits


def test_the_end_of_a_turn_stops_an_answer_and_is_no_part_of_it(chatml: Tokenizer) -> None:
    task = chat()
    end = chatml.special_ids[IM_END]
    assert task.stop_ids(chatml) == (chatml.eot_id, end)
    network = Parrot([*chatml.encode("good film"), end, *chatml.encode("user")], chatml.vocab_size)
    sampling = Sampling(20, stop_ids=task.stop_ids(chatml))
    ids = list(task.generate(network, task.prompt_ids(chatml, "Hi"), sampling))
    assert chatml.decode(ids) == "good film"


def saved(folder: Path, tokenizer: Tokenizer, **options: Any) -> Any:
    """A model of random weights, as training would write it."""
    task = chat(**options)
    torch.manual_seed(1)
    network = task.network(tiny_backbone(tokenizer.vocab_size, 120))
    own = {
        "recipe": "tiny", "task": {**shipped_sections("chat", length=200, **options)["task"], "labels": []},
        "model": {"architecture": "decoder", "options": tiny_options()}, "max_length": 120, "eot_id": tokenizer.eot_id,
    }  # fmt: skip
    interface = interface_of(task, network.get_submodule("model"), 120, tokenizer)
    save_model(folder, network, {"langmill": own}, tokenizer.file, {"provenance": "ab" * 32}, interface=interface)
    return load_model(folder, verify=True)


@pytest.mark.parametrize("kind", ["chatml", "plain", "given"])
def test_transformers_asks_the_folder_as_langmill_does(
    chatml: Tokenizer, tokenizer: Tokenizer, tmp_path: Path, kind: str
) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    given = "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + m.content + '<|im_end|>' }}{% endfor %}"
    used = tokenizer if kind == "plain" else chatml
    options = {"template": given + "{% if add_generation_prompt %}<|im_start|>{% endif %}"} if kind == "given" else {}
    model = saved(tmp_path / "m", used, **options)
    theirs = AutoTokenizer.from_pretrained(model.folder)
    talk = [Message("system", "Be good."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "é?")]
    messages = [{"role": message.role, "content": message.content} for message in talk]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert model.task.conversation_ids(model.tokenizer, talk) == ids
    assert model.tokenizer.chat_template == model.task.chat_template(used)
    stops = GenerationConfig.from_pretrained(model.folder).eos_token_id
    assert (stops if isinstance(stops, list) else [stops]) == list(model.task.stop_ids(model.tokenizer))
    assert theirs.decode(model.tokenizer.encode("é film"), skip_special_tokens=True) == "é film"
