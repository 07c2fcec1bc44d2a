"""A Langmill model as MLflow's pyfunc: MLflow keeps this file in the package and runs it to load the model.

The package carries Langmill's code of that day beside the model folder, so it answers in an environment that has the
packages of its requirements.txt, with or without Langmill, as on the day it was registered.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

if TYPE_CHECKING:
    from langmill.tasks.loading import LoadedModel


class LangmillModel(PythonModel):  # type: ignore[misc]
    """Answers rows: texts to go on from, or texts to label."""

    loaded: LoadedModel

    def load_context(self, context: Any) -> None:
        """Load the model folder, every byte checked against its manifest."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from langmill.tasks.loading import load_model

        self.loaded = load_model(Path(context.artifacts["model"]), verify=True)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """One row of answer for each row of the input, which has one column of texts.

        Args:
            context: MLflow's; not needed after loading.
            model_input: A column `prompt` (a model that generates) or `text` (one that classifies).
            params: The signature's parameters, every one filled in by MLflow.
        """
        from langmill.tasks.base import Classifies

        texts = [str(text) for text in pd.DataFrame(model_input).iloc[:, 0]]
        task = self.loaded.task
        return _classify(self.loaded, texts) if isinstance(task, Classifies) else _generate(self.loaded, texts, params)


def _generate(loaded: LoadedModel, prompts: list[str], params: Mapping[str, Any] | None) -> pd.DataFrame:
    from langmill.models.generation import Sampling, searching
    from langmill.tasks.base import Generates
    from langmill.tokenization.text_stream import written

    task, tokenizer = loaded.task, loaded.tokenizer
    assert isinstance(task, Generates)
    given = dict(params or {})
    num_beams, length_penalty = int(given.pop("num_beams")), float(given.pop("length_penalty"))
    sampling = Sampling(stop_ids=(tokenizer.eot_id,), **given)
    # Every parameter is filled in, so what was asked for is told by how it differs from the model's own: a temperature
    # instead of its search, or beams instead of its temperature. A top_k can't be told from the signature's.
    searches = num_beams > 1 and (sampling.greedy or num_beams != task.writing.num_beams)
    beams = searching(replace(sampling, top_k=0), num_beams, length_penalty) if searches else None
    answers = []
    for prompt in prompts:
        ids = task.prompt_ids(tokenizer, prompt)
        steps: Generator[int | None, None, object] = (
            task.search(loaded.network, tokenizer, ids, beams)
            if beams is not None
            else task.generate(loaded.network, ids, sampling)
        )
        answers.append(written(steps, tokenizer.decode, ()))
    return pd.DataFrame({"text": answers})


def _classify(loaded: LoadedModel, texts: list[str]) -> pd.DataFrame:
    from langmill.tasks.base import Classifies

    assert isinstance(loaded.task, Classifies)
    labels = loaded.task.labels
    probabilities_NK = loaded.task.probabilities(loaded.network, loaded.tokenizer, texts)
    best = probabilities_NK.argmax(axis=1)
    return pd.DataFrame(
        {
            "label": [labels[index] for index in best],
            "probability": probabilities_NK.max(axis=1).astype(float),
            "probabilities": [dict(zip(labels, map(float, row), strict=True)) for row in probabilities_NK],
        }
    )


set_model(LangmillModel())
