"""Models of `transformers`: the same logits, texts and names as there; adapters as `peft` reads them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import nn

from langmill.files import read_json, read_manifest, write_json
from langmill.models.base import Attends, Kind, build_backbone
from langmill.models.folder import load_state, load_weights, own_names, save_model
from langmill.models.generation.beam_search import beam_search
from langmill.models.generation.config import Beams, Sampling
from langmill.models.generation.generate import generate_batch
from langmill.models.heads import Classifier, LanguageModel, TextToText
from langmill.models.huggingface.backbone import Pretrained
from langmill.models.huggingface.special_tokens import INSERTED, SpecialTokenTemplate
from tests.unit.models.checkpoints import SIZES, write_checkpoint, write_tokenizer
from tests.unit.models.pretrained import (
    CAUSAL,
    ENCODER_DECODERS,
    ENCODERS,
    HEADS,
    KINDS,
    LABELS,
    LORA,
    MAX_LENGTH,
    backbone_for,
    build,
    load,
)

pytestmark = pytest.mark.unit
TOKENS_BT = torch.randint(4, 20, (3, 9), generator=torch.Generator().manual_seed(5))
LENGTHS_B = torch.tensor([9, 4, 1])
MASK_BT = (torch.arange(9) < LENGTHS_B[:, None]).long()
TARGETS_BT = torch.randint(4, 20, (3, 5), generator=torch.Generator().manual_seed(6))
EOT_ID = 2


@pytest.fixture
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, Any]:
    """The folder, the family and Hugging Face's own model of a checkpoint."""
    family = request.param
    changes = {"num_labels": LABELS} if family in ENCODERS else {}
    return tmp_path / family, family, write_checkpoint(tmp_path / family, family, HEADS[family], **changes)


each_causal = pytest.mark.parametrize("checkpoint", CAUSAL, indirect=True)
each_encoder_decoder = pytest.mark.parametrize("checkpoint", ENCODER_DECODERS, indirect=True)
each_family = pytest.mark.parametrize("checkpoint", HEADS, indirect=True)
Checkpoint = tuple[Path, str, Any]


def assert_close(own: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5)


def logits_of(network: nn.Module) -> torch.Tensor:
    """Logits of fixed tokens, those at padded positions left out."""
    with torch.no_grad():
        if isinstance(network, TextToText):
            logits: torch.Tensor = network(TOKENS_BT, LENGTHS_B, TARGETS_BT)
            return logits
        logits = network(TOKENS_BT, LENGTHS_B)
    return logits[MASK_BT.bool()] if logits.dim() == 3 else logits


@torch.no_grad()
def reference_logits(model: Any, family: str) -> torch.Tensor:
    """Logits of the same tokens from Hugging Face's model, one sequence at a time and so without padding."""
    rows = []
    for row, length in enumerate(LENGTHS_B.tolist()):
        tokens = TOKENS_BT[row : row + 1, :length]
        if family in ENCODERS:
            tokens = torch.cat([torch.tensor([[3]]), tokens, torch.tensor([[2]])], dim=1)
            rows.append(model(input_ids=tokens).logits)
        elif family in ENCODER_DECODERS:
            rows.append(model(input_ids=tokens, decoder_input_ids=TARGETS_BT[row : row + 1]).logits)
        else:
            rows.append(model(input_ids=tokens).logits[0])
    return torch.cat(rows)


@each_family
def test_logits_are_those_of_transformers(checkpoint: Checkpoint) -> None:
    folder, family, model = checkpoint
    assert_close(logits_of(load(folder, KINDS[family])), reference_logits(model, family))


@each_causal
def test_the_loss_is_the_cross_entropy_of_the_scored_tokens(checkpoint: Checkpoint) -> None:
    folder, family, model = checkpoint
    network = load(folder, KINDS[family])
    assert isinstance(network, LanguageModel)
    targets_BT = torch.where(MASK_BT.bool(), TOKENS_BT.roll(-1, dims=1), -1)
    with torch.no_grad():
        logits_NV = model(input_ids=TOKENS_BT, attention_mask=MASK_BT).logits[MASK_BT.bool()]
    expected = nn.functional.cross_entropy(logits_NV, targets_BT[MASK_BT.bool()])
    assert_close(network.loss(TOKENS_BT, targets_BT), expected)


@each_causal
def test_a_cache_of_sequences_of_unequal_length_changes_nothing(checkpoint: Checkpoint) -> None:
    folder, family, model = checkpoint
    network = load(folder, KINDS[family])
    assert isinstance(network, LanguageModel)
    cache = network.model.new_cache(3)
    with torch.no_grad():
        network.model(TOKENS_BT, LENGTHS_B, cache)
        cache.keep([2, 0, 1])
        assert cache.lengths == [1, 9, 4]
        new_BT = torch.tensor([[5, 6], [7, 8], [9, 0]])
        hidden = network.model(new_BT, torch.tensor([2, 2, 1]), cache)
        own = network.head(hidden)
        assert cache.lengths == [3, 11, 5]
        for row, (before, read) in enumerate([(TOKENS_BT[2, :1], 2), (TOKENS_BT[0], 2), (TOKENS_BT[1, :4], 1)]):
            whole = torch.cat([before, new_BT[row, :read]])[None]
            assert_close(own[row, :read], model(input_ids=whole).logits[0, -read:])


def without_padding(ids: list[int]) -> list[int]:
    """A text before its end: `transformers` continues with padding until the longest text of a batch is done."""
    return [number for number in ids if number not in (1, EOT_ID)]


@pytest.mark.parametrize("checkpoint", ["GPT2", "Llama"], indirect=True)
def test_texts_are_those_that_transformers_generates(checkpoint: Checkpoint) -> None:
    folder, family, model = checkpoint
    network = load(folder, KINDS[family])
    prompts = [TOKENS_BT[0].tolist(), TOKENS_BT[1, :4].tolist()]
    greedy = Sampling(12, stop_ids=(EOT_ID,))
    own = generate_batch(network, prompts, [greedy, greedy])  # type: ignore[arg-type]
    found = beam_search(network, prompts, Beams(8, 3, 1.0, (EOT_ID,)))  # type: ignore[arg-type]
    for row, prompt in enumerate(prompts):
        given = {"input_ids": torch.tensor([prompt]), "attention_mask": torch.ones(1, len(prompt), dtype=torch.long)}
        fixed = {"do_sample": False, "pad_token_id": 1, "eos_token_id": EOT_ID}
        theirs = model.generate(**given, **fixed, max_new_tokens=12)[0, len(prompt) :].tolist()
        assert without_padding(own[row]) == without_padding(theirs)
        theirs = model.generate(**given, **fixed, max_new_tokens=8, num_beams=3, early_stopping=False)[0, len(prompt) :]
        assert without_padding(found[row]) == without_padding(theirs.tolist())


@each_encoder_decoder
def test_beam_search_for_a_source_matches_transformers(checkpoint: Checkpoint) -> None:
    folder, family, model = checkpoint
    network = load(folder, KINDS[family])
    sources = [[*TOKENS_BT[0].tolist(), EOT_ID], [*TOKENS_BT[1, :4].tolist(), EOT_ID]]
    found = beam_search(network, sources, Beams(8, 3, 1.0, (EOT_ID,)))  # type: ignore[arg-type]
    for row, source in enumerate(sources):
        theirs = model.generate(
            input_ids=torch.tensor([source]), attention_mask=torch.ones(1, len(source), dtype=torch.long),
            do_sample=False, num_beams=3, max_new_tokens=8, early_stopping=False, pad_token_id=1, eos_token_id=EOT_ID,
        )[0, 1:]  # fmt: skip
        assert without_padding(found[row]) == without_padding(theirs.tolist())


@each_family
def test_a_saved_model_opens_here_and_in_transformers(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, family, model = checkpoint
    network = load(folder, KINDS[family])
    expected = logits_of(network)
    out = tmp_path / "out"
    save_model(out, network, {"langmill": {"eot_id": EOT_ID}}, folder / "tokenizer.json", {})
    read_manifest(out, verify=True)
    again = build(out, KINDS[family])
    load_weights(again, own_names(again, load_state(out)), "test")
    assert_close(logits_of(again.eval()), expected)
    opened = type(model).from_pretrained(out).eval()
    assert_close(reference_logits(opened, family), expected)
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == [type(model).__name__]
    assert config["pad_token_id"] == model.config.pad_token_id  # RoBERTa counts its positions from it


@each_family
def test_an_adapter_alone_is_trained_and_then_merged(checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder, family, model = checkpoint
    kind = KINDS[family]
    network = load(folder, kind, tuning="lora")
    backbone = network.model
    assert isinstance(backbone, Pretrained)
    before = logits_of(network)
    backbone.prepare_for_training(network)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    heads = {name for name in trained if "lora_" not in name}
    assert any("lora_A" in name for name in trained)
    assert all(name.startswith("head.") for name in heads)
    assert bool(heads) == (kind is Kind.bidirectional)
    assert_close(logits_of(network), before)  # B begins as zero
    frozen = {name: weight.clone() for name, weight in network.named_parameters() if not weight.requires_grad}
    optimizer = torch.optim.Adam([weight for weight in network.parameters() if weight.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        if isinstance(network, Classifier):
            loss = nn.functional.cross_entropy(network(TOKENS_BT, LENGTHS_B), torch.tensor([0, 1, 2]))
        elif isinstance(network, TextToText):
            loss = network.loss(TOKENS_BT, LENGTHS_B, TARGETS_BT)
        else:
            assert isinstance(network, LanguageModel)
            loss = network.loss(TOKENS_BT, TOKENS_BT.roll(-1, dims=1))
        loss.backward()
        optimizer.step()
    for name, weight in network.named_parameters():
        assert name not in frozen or weight.equal(frozen[name])
    learned = logits_of(network.eval())
    assert (learned - before).abs().max() > 1e-2
    adapter = backbone.merge_adapter(network)
    assert adapter is not None
    torch.testing.assert_close(logits_of(network), learned, rtol=1e-3, atol=1e-4)
    out = tmp_path / "out"
    save_model(out, network, {"langmill": {"eot_id": EOT_ID}}, folder / "tokenizer.json", {}, adapter=adapter)
    assert not any("lora" in name for name in load_state(out))
    assert_close(reference_logits(type(model).from_pretrained(out).eval(), family), logits_of(network))
    with_adapter = peft.PeftModel.from_pretrained(copy.deepcopy(model), out / "adapter").eval()
    torch.testing.assert_close(reference_logits(with_adapter, family), learned, rtol=1e-3, atol=1e-4)


def test_the_names_of_the_checkpoints_before_training_and_after_it_are_the_same(tmp_path: Path) -> None:
    """A body alone (a sentence encoder, say) becomes a classifier whose last layers are new."""
    write_checkpoint(tmp_path / "bert", "Bert", "Model")
    network = load(tmp_path / "bert", Kind.bidirectional)
    stored = load_state(tmp_path / "bert")
    assert set(network.stored_names().values()) == {  # type: ignore[operator, union-attr]
        *(f"bert.{name}" for name in stored),
        "classifier.weight",
        "classifier.bias",
    }
    assert network(TOKENS_BT, LENGTHS_B).shape == (3, LABELS)


@pytest.mark.parametrize(("tuning", "targets"), [("lora", ["all-linear"]), ("lora", ["dense"]), ("head", [])])
def test_a_pooler_that_the_base_lacks_is_learned_like_the_head(tmp_path: Path, tuning: str, targets: list[str]) -> None:
    """A checkpoint of a masked language model has none, and a classifier reads through it."""
    write_checkpoint(tmp_path / "bert", "Bert", "ForMaskedLM")
    network = load(tmp_path / "bert", Kind.bidirectional, tuning=tuning, lora={**LORA, "targets": targets or ["query"]})
    backbone = network.model
    assert isinstance(backbone, Pretrained)
    backbone.prepare_for_training(network)
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad and "lora_" not in name}
    layers = ("head.classifier", "model.body.pooler.dense")
    assert trained == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    if tuning == "head":
        return
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * weight.requires_grad, alpha=0.1)
    learned = logits_of(network)
    adapter = backbone.merge_adapter(network)
    out = tmp_path / "out"
    save_model(
        out, network, {"langmill": {"eot_id": EOT_ID}}, tmp_path / "bert" / "tokenizer.json", {}, adapter=adapter
    )
    published = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "bert", num_labels=LABELS)
    with_adapter = peft.PeftModel.from_pretrained(published, out / "adapter").eval()
    torch.testing.assert_close(reference_logits(with_adapter, "Bert"), learned, rtol=1e-3, atol=1e-4)
    again = load(out, Kind.bidirectional, tuning="lora")  # it is a base like any other, whose pooler stays
    assert_close(logits_of(again), logits_of(network))
    assert isinstance(again.model, Pretrained)
    assert not again.model.new_weights


def test_a_causal_model_can_be_a_classifier(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "gpt2", "GPT2", "LMHeadModel")
    given = {"kind": "causal", "tuning": "full", "lora": LORA, "config": {}}
    backbone = build_backbone("pretrained", given, 20, MAX_LENGTH, "test", source=tmp_path / "gpt2")
    network = Classifier(backbone, LABELS, dropout=0.0).eval()
    backbone.start_from(tmp_path / "gpt2")
    alone = network(TOKENS_BT[1:2, :4])
    assert_close(network(TOKENS_BT, LENGTHS_B)[1:2], alone)
    save_model(tmp_path / "out", network, {"langmill": {"eot_id": EOT_ID}}, tmp_path / "gpt2" / "tokenizer.json", {})
    again_backbone = build_backbone("pretrained", given, 20, MAX_LENGTH, "test", source=tmp_path / "out")
    again = Classifier(again_backbone, LABELS, dropout=0.0).eval()
    load_weights(again, own_names(again, load_state(tmp_path / "out")), "test")
    assert_close(again(TOKENS_BT[1:2, :4]), alone)


def test_the_special_token_template_of_a_tokenizer(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, special_tokens=True)
    template = SpecialTokenTemplate.read(tmp_path / "tokenizer.json")
    assert template == SpecialTokenTemplate((3,), (2,))
    tokens_BT, mask_BT = template.wrap(torch.tensor([[7, 8, 9], [5, 0, 0]]), torch.tensor([3, 1]))
    assert tokens_BT[0].tolist() == [3, 7, 8, 9, 2]
    assert tokens_BT[1, :3].tolist() == [3, 5, 2]
    assert mask_BT is not None
    assert mask_BT.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert template.wrap(torch.tensor([[7, 8]]), None)[0].tolist() == [[3, 7, 8, 2]]


def test_the_end_of_a_text_that_the_task_writes_is_read_once_but_by_models_that_learned_it_twice(
    tmp_path: Path,
) -> None:
    write_tokenizer(tmp_path, special_tokens=True)
    file = tmp_path / "tokenizer.json"
    assert SpecialTokenTemplate.read(file, 2) == SpecialTokenTemplate((3,), ())
    assert SpecialTokenTemplate.read(file, 3) == SpecialTokenTemplate((3,), (2,))
    write_checkpoint(tmp_path, "T5", HEADS["T5"])
    write_tokenizer(tmp_path, special_tokens=True)
    assert backbone_for(tmp_path, kind="encoder_decoder").special_token_template == ((3,), ())
    state = read_json(file)
    single = state["post_processor"]["single"]
    single.insert(2, {"SpecialToken": {"id": INSERTED, "type_id": 0}})  # as older folders of such models have it
    state["post_processor"]["special_tokens"][INSERTED] = {"id": INSERTED, "ids": [2], "tokens": ["[SEP]"]}
    write_json(file, state)
    assert backbone_for(tmp_path, kind="encoder_decoder").special_token_template == ((3,), (2,))


def test_flops_per_token(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "Llama", "ForCausalLM")
    network = build(tmp_path, Kind.causal)
    attention, feed_forward = 16 * (16 + 8 + 8 + 16), 3 * 16 * 32
    expected = 2 * 2 * (attention + feed_forward) + 4 * 2 * 16 * 10 + 2 * 16 * network.model.vocab_size  # type: ignore[union-attr, operator]
    assert network.flops_per_token(10) == expected  # type: ignore[operator, union-attr]


@each_family
def test_attention_is_that_of_transformers(checkpoint: Checkpoint) -> None:
    folder, family, model = checkpoint
    network = load(folder, KINDS[family])
    backbone = network.model
    assert isinstance(backbone, Attends)
    before = logits_of(network)
    own = backbone.attention(TOKENS_BT[1:2, :4])
    model.set_attn_implementation("eager")
    tokens_BT = TOKENS_BT[1:2, :4]
    if family in ENCODERS:
        tokens_BT = torch.cat([torch.tensor([[3]]), tokens_BT, torch.tensor([[2]])], dim=1)
    part = model.get_encoder() if family in ENCODER_DECODERS else model
    with torch.no_grad():
        assert_close(own, torch.stack(part(input_ids=tokens_BT, output_attentions=True).attentions))
    assert isinstance(backbone, Pretrained)
    assert own.shape[-1] == 4 + sum(map(len, backbone.special_token_template))
    torch.testing.assert_close(own.sum(dim=-1), torch.ones(own.shape[:-1]))
    padded = backbone.attention(TOKENS_BT, LENGTHS_B)[:, 1:2, :, : own.shape[-1], : own.shape[-1]]
    assert_close(padded, own)
    if family in ENCODER_DECODERS:
        crossed = backbone.cross_attention(TOKENS_BT, TARGETS_BT, LENGTHS_B)
        torch.testing.assert_close(crossed.sum(dim=-1), torch.ones(crossed.shape[:-1]))
        assert crossed[:, 1, :, :, 4:].eq(0).all()
    assert logits_of(network).equal(before)  # the fast kernel is back


def test_all_families_are_tried() -> None:
    assert set(HEADS) | {"Granite"} == set(SIZES)
    assert transformers.__version__.startswith("5.")
