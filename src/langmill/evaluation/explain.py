"""Explain predictions: attribution of a label to tokens, and attention maps of a Transformer.

`attribute` attributes a label's logit to the tokens by integrated gradients (Sundararajan et al., 2017); see
docs/decisions/0407 for the meaning of the numbers and the baseline. `attention_maps` returns a Transformer's attention
weights; docs/guides/explaining.md says what they do not prove.

Shape suffixes: T queries (tokens or whole-character pieces), S keys, L layers, H heads, K labels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from langmill.errors import EvaluationError
from langmill.models.base import Attends, AttendsToSource, Backbone, Kind
from langmill.models.generation.beam_search import run_to_end
from langmill.models.generation.config import Beams
from langmill.models.heads import Classifier, TextToText
from langmill.tasks.base import EncodedInput, Explains, Generates, device_of
from langmill.tasks.loading import LoadedModel
from langmill.tokenization.text_stream import TextStream
from langmill.tokenization.tokenizer import Tokenizer

END_OF_TEXT = "⟨end⟩"
"""The end-of-text token as displayed; it has no text of its own."""
STEPS = (50, 200, 800, 3200)
"""Numbers of points on the path from the baseline to the text at which gradients are taken: the first number that is
exact enough is kept."""
TOLERANCE = 0.01
"""Allowed error of the attributions' sum, relative to the difference of the logits; but see `SMALLEST_ERROR`."""
SMALLEST_ERROR = 1e-3
"""Allowed absolute error of the sum, for differences close to zero."""
BASELINE_PUNCTUATION = (".", ",", ";", ":", "-", "(", ")", '"', "\n", " ")
"""Candidates for the baseline's token besides end-of-text: punctuation, which means little by itself."""
MAX_ANSWER_TOKENS = 64
"""Tokens of a model's own answer, at most: a plot of more is unreadable."""
_MOST_TOKENS = 500_000  # steps times tokens, at most: half a minute of a small network
_TOKENS_AT_ONCE = 8192  # in one forward pass


@dataclass(frozen=True)
class Attribution:
    """Contribution of each piece of a text to the logit of the predicted label."""

    label: str
    probability: float
    pieces: list[str]
    """The text as the network read it, in whole characters."""
    shares_T: np.ndarray
    """Contribution of each piece to the logit, in nats; negative if against the label."""
    logit: float
    baseline: str
    """The token that the baseline repeats."""
    baseline_logit: float
    """The same label's logit for the baseline, a text of equally many such tokens."""
    steps: int
    left_out: int
    """Tokens that were truncated."""

    @property
    def error(self) -> float:
        """Difference between the shares' sum and its target, logit - baseline_logit."""
        return float(self.shares_T.sum()) - (self.logit - self.baseline_logit)

    @property
    def complete(self) -> bool:
        """Whether the shares add up (Sundararajan et al., 2017, proposition 1), within the tolerance."""
        return _close(self.error, self.logit - self.baseline_logit)

    def words(self, count: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """The words most for and most against the label, strongest first, `count` of each at most.

        A word that occurs several times is listed once, with its strongest share.
        """
        strongest: dict[str, float] = {}
        for word, share in _words(self.pieces, self.shares_T):
            if abs(share) > abs(strongest.get(word, 0.0)):
                strongest[word] = share
        ranked = sorted(strongest.items(), key=lambda pair: -pair[1])
        speak_for = [pair for pair in ranked if pair[1] > 0]
        against = [pair for pair in reversed(ranked) if pair[1] < 0]
        return speak_for[:count], against[:count]


@dataclass(frozen=True)
class AttentionMaps:
    """A Transformer's attention weights by layer and head, with labels of rows and columns."""

    weights_LHTS: np.ndarray
    """Attention of each row to each column; a row sums to 1."""
    rows: list[str]
    """The pieces of the queries, or of the tokens generated from them."""
    columns: list[str]
    """The pieces of the keys."""
    row_title: str
    column_title: str
    columns_go_on: bool
    """Whether the rows' own pieces are the last of the columns: a prompt and its answer."""
    answer: str | None
    """The model's own answer, if it was asked for one."""
    left_out: int
    """Tokens of the text that were truncated."""
    target_left_out: int = 0
    """Tokens of the target that were truncated to the context length."""


# Attribution ---------------------------------------------------------------------------------------------------------


def attribute(model: LoadedModel, name: str, text: str) -> Attribution:
    """Attribute the logit of the predicted label to the text's tokens.

    Integrated gradients on the token embedding, of a bag of n-grams on its hidden states (Sundararajan et al., 2017,
    equation 1, with captum): the gradient of the logit, integrated on the straight path from a baseline to the text,
    times the difference of the two. The baseline is the most neutral text that repeats one token (`_neutral`). The
    integral is a Gauss-Legendre quadrature; steps are added until the shares add up. `name` is the model's in messages.
    Raises EvaluationError where the model does not predict labels, or its logit is not a number.
    """
    from captum.attr import LayerIntegratedGradients

    network, task = model.network, _explained(model, name)
    if not isinstance(network, Classifier):
        raise EvaluationError(f"{name} predicts no labels to attribute; ask for its attention instead.", "unsupported")
    encoded = task.encode_input(network, model.tokenizer, text)
    tokens_BT = torch.tensor([encoded.tokens], device=device_of(network))
    with torch.no_grad():
        logits_K = network(tokens_BT)[0].double()
        neutral, baseline_K = _neutral(network, model.tokenizer, len(encoded.tokens))
    baseline_BT = torch.full_like(tokens_BT, neutral)
    best = int(logits_K.argmax())
    logit, baseline_logit = float(logits_K[best]), float(baseline_K[best])
    if not np.isfinite(logit - baseline_logit):
        raise EvaluationError(f"{name} gives logits that are not numbers, so there is nothing to explain.", "diverged")
    gradients = LayerIntegratedGradients(network, network.model.token_states)
    affordable = [count for count in STEPS if count * len(encoded.tokens) <= _MOST_TOKENS]
    for steps in affordable or STEPS[:1]:
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent networks have gradients in training mode only
            found_BTD: Tensor = gradients.attribute(
                tokens_BT,
                baseline_BT,
                target=best,
                n_steps=steps,
                method="gausslegendre",
                internal_batch_size=max(2, _TOKENS_AT_ONCE // len(encoded.tokens)),
            )
        shares_T = found_BTD.detach()[0].double().sum(dim=-1).cpu().numpy()
        if _close(float(shares_T.sum()) - (logit - baseline_logit), logit - baseline_logit):
            break
    pieces, starts = whole_characters(model.tokenizer, _with_special_tokens(network.model, encoded.tokens))
    return Attribution(
        model.task.labels[best],
        float(logits_K.softmax(dim=-1)[best]),
        pieces,
        np.add.reduceat(shares_T, starts),
        logit,
        END_OF_TEXT if neutral == model.tokenizer.eot_id else model.tokenizer.decode([neutral]),
        baseline_logit,
        steps,
        encoded.left_out,
    )


def _neutral(network: nn.Module, tokenizer: Tokenizer, length: int) -> tuple[int, Tensor]:
    """Find the token whose repetition makes the network least certain of a label; return it with the logits `(K,)`.

    A baseline should be neutral (Sundararajan et al., 2017, section 2). End-of-text tokens are not always: a network
    that was not trained on them takes them for any word.
    """
    punctuation = [tokenizer.encode(text) for text in BASELINE_PUNCTUATION]
    tokens = [tokenizer.eot_id, *(ids[0] for ids in punctuation if len(ids) == 1)]
    texts_NT = torch.tensor(tokens, device=device_of(network))[:, None].expand(-1, length)
    logits_NK = network(texts_NT).double()
    sure_N = (logits_NK.softmax(dim=-1) * logits_NK.log_softmax(dim=-1)).sum(dim=-1)  # negative entropy
    number = int(sure_N.argmin())
    return tokens[number], logits_NK[number]


def _close(error: float, difference: float) -> bool:
    return abs(error) <= max(TOLERANCE * abs(difference), SMALLEST_ERROR)


# Attention -----------------------------------------------------------------------------------------------------------


def attention_maps(model: LoadedModel, name: str, text: str, target: str | None = None) -> AttentionMaps:
    """Compute a network's attention weights on a text, or while it generates an answer.

    For a model that answers (an encoder-decoder, a completion) each row is a token of the answer, with the weights that
    predicted it. For others the weights are those of reading the text.

    Args:
        model: A model whose network is a Transformer.
        name: Its name in messages.
        text: The text, source or prompt.
        target: The answer; None lets a model that answers write its own.

    Raises:
        EvaluationError: The network has no attention, there is a target but the task generates nothing, or the model's
            own answer is empty.
    """
    network, task = model.network, _explained(model, name)
    backbone = cast("Backbone", network.model)
    if not isinstance(backbone, Attends):
        raise EvaluationError(f"{name} is no Transformer, so it has no attention to show.", "unsupported")
    writer = task if isinstance(task, Generates) and backbone.kind is not Kind.bidirectional else None
    if target is not None and writer is None:
        raise EvaluationError(f"{name} does not continue a text, so it has no use for --target.", "unsupported")
    encoded = task.encode_input(network, model.tokenizer, text)
    answers = model.generation_config is not None and not model.generation_config.samples
    if writer is not None and (target is not None or answers):
        return _answer_maps(model, writer, name, encoded, target)
    tokens_BT = torch.tensor([encoded.tokens], device=device_of(network))
    pieces, starts = whole_characters(model.tokenizer, _with_special_tokens(backbone, encoded.tokens))
    weights_LHTS = _grouped(backbone.attention(tokens_BT)[:, 0], starts, starts)
    return AttentionMaps(
        weights_LHTS, pieces, pieces, "query token", "token attended to", False, None, encoded.left_out
    )


def _answer_maps(
    model: LoadedModel, task: Generates, name: str, encoded: EncodedInput, target: str | None
) -> AttentionMaps:
    """Compute the attention weights that predict a target, or the model's own answer."""
    network, tokenizer = model.network, model.tokenizer
    backbone = cast("Backbone", network.model)
    apart = isinstance(network, TextToText) and isinstance(backbone, AttendsToSource)
    room = backbone.max_length if apart else backbone.max_length - len(encoded.tokens) + 1
    target_left_out = 0
    if target is None:
        answer_ids = _own_answer(model, task, encoded.tokens, min(MAX_ANSWER_TOKENS, room))
    else:
        wanted = tokenizer.encode(target)
        answer_ids, target_left_out = wanted[:room], max(0, len(wanted) - room)
    if not answer_ids:
        raise EvaluationError(f"{name} answers with an empty text, so give a --target.", "missing")
    device = device_of(network)
    rows, row_starts = whole_characters(tokenizer, answer_ids)
    if apart:
        assert isinstance(backbone, AttendsToSource) and isinstance(network, TextToText)
        source_BS = torch.tensor([encoded.tokens], device=device)
        start = encoded.tokens[-1] if network.model.start_id is None else network.model.start_id
        tokens_BT = torch.tensor([[start, *answer_ids[:-1]]], device=device)
        maps_LHTS = backbone.cross_attention(source_BS, tokens_BT)[:, 0]
        seen, title = _with_special_tokens(backbone, encoded.tokens), "source token attended to"
    else:
        seen = [*encoded.tokens, *answer_ids[:-1]]
        maps_LHTS = cast("Attends", backbone).attention(torch.tensor([seen], device=device))[:, 0]
        maps_LHTS = maps_LHTS[:, :, len(encoded.tokens) - 1 :]
        title = "token attended to: the prompt, then the answer"
    columns, column_starts = whole_characters(tokenizer, seen)
    answer = tokenizer.decode(answer_ids) if target is None else None
    weights_LHTS = _grouped(maps_LHTS, row_starts, column_starts)
    return AttentionMaps(
        weights_LHTS, rows, columns, "token generated", title, not apart, answer, encoded.left_out, target_left_out
    )


def _own_answer(model: LoadedModel, task: Generates, prompt_ids: list[int], limit: int) -> list[int]:
    """Generate the answer's tokens, with the decoding of the evaluation."""
    assert model.generation_config is not None
    decoding = model.generation_config.decoding(task.stop_ids(model.tokenizer), {"max_new_tokens": limit})
    if isinstance(decoding, Beams):
        return run_to_end(task.search(model.network, model.tokenizer, prompt_ids, decoding))
    return list(task.generate(model.network, prompt_ids, decoding))


def _grouped(weights_LHTS: Tensor, row_starts: Sequence[int], column_starts: Sequence[int]) -> np.ndarray:
    """Group the weights of tokens by pieces: the sum over a column's tokens, the mean over a row's."""
    weights = weights_LHTS.double().cpu().numpy()
    columns = np.add.reduceat(weights, column_starts, axis=3)
    sizes = np.diff([*row_starts, weights.shape[2]])
    return np.asarray(np.add.reduceat(columns, row_starts, axis=2) / sizes[:, None])


def chosen_maps(maps: AttentionMaps, name: str, layer: int | None, head: int | None) -> dict[str, np.ndarray]:
    """Select the maps to plot, `(T, S)` each, by title: of one layer or each, of one head or the mean over heads.

    Layers and heads are counted from 1. `name` is the model's in messages. Raises EvaluationError where there is no
    such layer or head.
    """
    layers, heads = maps.weights_LHTS.shape[:2]
    for option, given, count in (("layer", layer, layers), ("head", head, heads)):
        if given is not None and not 1 <= given <= count:
            there = f"{option}s 1 to {count}" if count > 1 else f"one {option} only, number 1"
            raise EvaluationError(f"--{option} is {given}; {name} has {there}.", "impossible")
    of_head = "" if head is None else f", head {head}"
    return {
        f"layer {number + 1}{of_head}": (
            maps.weights_LHTS[number].mean(axis=0) if head is None else maps.weights_LHTS[number, head - 1]
        )
        for number in (range(layers) if layer is None else [layer - 1])
    }


# Text ----------------------------------------------------------------------------------------------------------------


def whole_characters(tokenizer: Tokenizer, tokens: Sequence[int]) -> tuple[list[str], list[int]]:
    """Decode token ids to pieces of whole characters.

    A byte-level token may hold a part of a character; such tokens are joined to the next ones until the character is
    complete. Special tokens are pieces of their own. With the texts comes the index in `tokens` at which each begins.
    """
    names = {number: name for name, number in tokenizer.special_ids.items()} | {tokenizer.eot_id: END_OF_TEXT}
    pieces: list[str] = []
    starts: list[int] = []
    stream, begun = TextStream(tokenizer.decode), 0

    def add(text: str, start: int) -> None:
        pieces.append(text)
        starts.append(start)

    for index, token in enumerate(tokens):
        if token in names:
            if begun < index:
                add(stream.finish(), begun)
            add(names[token], index)
            stream, begun = TextStream(tokenizer.decode), index + 1
        elif text := stream.push(token):
            add(text, begun)
            begun = index + 1
    if begun < len(tokens):
        add(stream.finish(), begun)
    return pieces, starts


def _with_special_tokens(backbone: Backbone, tokens: Sequence[int]) -> list[int]:
    """Add the special tokens that the network itself puts around the tokens."""
    prefix, suffix = backbone.special_token_template
    return [*prefix, *tokens, *suffix]


def _words(pieces: Sequence[str], shares_T: np.ndarray) -> list[tuple[str, float]]:
    """Join pieces to words, where letters or digits follow each other without a space, and add their shares.

    Pieces of scripts without spaces between words are not joined.
    """
    words: list[tuple[str, float]] = []
    before = ""
    for piece, share in zip(pieces, shares_T, strict=True):
        if before and piece and _inside_a_word(before[-1]) and _inside_a_word(piece[0]):
            word, sofar = words.pop()
            words.append((word + piece.rstrip(), sofar + float(share)))
        else:
            words.append((piece.strip(), float(share)))
        before = piece
    return [(word, share) for word, share in words if word]


def _inside_a_word(character: str) -> bool:
    return character in "'\u2019" or (character.isalnum() and unicodedata.east_asian_width(character) not in "WF")


def _explained(model: LoadedModel, name: str) -> Explains:
    task = model.task
    if not isinstance(task, Explains):
        raise EvaluationError(f"{name} can't be explained: its task does not implement it.", "unsupported")
    return task
