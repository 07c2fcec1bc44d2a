"""How a model is judged that learned which of two answers people like better.

As any model that writes an answer, on the chosen one; and by both answers' likelihoods. Which one is likelier says what
the model would rather write. Its reward is what became of that by learning (Rafailov et al., 2023): beta times the
log-probability less that of the base as it came, which therefore has a margin of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from torch import nn

from langmill.config.sections import Evaluation
from langmill.data.document import Document
from langmill.scoring.base import SCORERS, Baseline, Metric, Strength, TrainingData
from langmill.scoring.conditional_generation import ConditionalGenerationScorer, target_likelihood
from langmill.tasks.pairs import Pair
from langmill.tasks.preferences import Preferences
from langmill.tokenization.tokenizer import Tokenizer

_MARGIN, _REFERENCE = "margin_nats", "reference_margin_nats"


@SCORERS.register("preferences")
class PreferencesScorer(ConditionalGenerationScorer):
    """Judges what is written, and what is preferred."""

    task: Preferences

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the chosen answer, then those of the preference."""
        return (
            *super().metrics,
            Metric("preference_accuracy", "Share of the pairs whose chosen answer is the likelier one", True),
            Metric("preference_margin", "How much likelier the chosen answer is, in nats", True),
            Metric("reward_accuracy", "Share of the pairs whose chosen answer has the larger reward", True),
            Metric("reward_margin", "How much larger the chosen answer's reward is", True),
        )

    def score(
        self,
        network: nn.Module,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        evaluation: Evaluation,
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """As every writing task's; and by how many nats the chosen answer is likelier, after the same prompt."""
        scores = super().score(network, tokenizer, documents, evaluation, progress)
        form = self.task.form(self.task.max_length(network), tokenizer.eot_id)
        nats = []
        candidates = self.task.candidates(tokenizer, documents, form.length)
        for answers in ([pair.chosen for pair in candidates], [pair.rejected for pair in candidates]):
            pairs = [
                Pair(pair.prompt, answer[:-1], int(answer[-1]))
                for pair, answer in zip(candidates, answers, strict=True)
            ]
            nats.append(target_likelihood(self.task, network, form, pairs, evaluation.batch_tokens)["nats"])
        return scores.append_column(_MARGIN, pa.array(nats[1] - nats[0]))

    def beside_base(self, scores: pa.Table, base: pa.Table) -> pa.Table:
        """The scores with the margins of the base as it came, from which rewards are counted."""
        return scores.append_column(_REFERENCE, base[_MARGIN])

    def measure(self, scores: pa.Table, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        """Rewards only where the base is known; a margin of nothing is right half of the time."""
        found = super().measure(scores, weights_RN)
        if _MARGIN in scores.column_names:
            margin_N = scores[_MARGIN].to_numpy()
            found |= _accuracy_and_margin("preference", margin_N, weights_RN)
            if _REFERENCE in scores.column_names:
                reward_N = self.task.options.beta * (margin_N - scores[_REFERENCE].to_numpy())
                found |= _accuracy_and_margin("reward", reward_N, weights_RN)
        return found

    def baselines(
        self,
        train: TrainingData,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        evaluation: Evaluation,
        *,
        max_length: int,
    ) -> list[Baseline]:
        """Those of every writing task, and a coin, which prefers nothing."""
        nothing = np.zeros(len(documents))
        coin = self.table(documents, {_MARGIN: nothing, _REFERENCE: nothing}, None)
        others = super().baselines(train, documents, tokenizer, evaluation, max_length=max_length)
        return [Baseline("coin", Strength.trivial, coin), *others]


def _accuracy_and_margin(name: str, margin_N: np.ndarray, weights_RN: np.ndarray) -> dict[str, np.ndarray]:
    right_N = (margin_N > 0) + 0.5 * (margin_N == 0)
    total_R = weights_RN.sum(axis=1)
    return {f"{name}_accuracy": weights_RN @ right_N / total_R, f"{name}_margin": weights_RN @ margin_N / total_R}
