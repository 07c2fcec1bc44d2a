"""A Langmill model as MLflow's pyfunc: MLflow keeps this file in the package and runs it to load the model.

The package carries Langmill's code of that day beside the model folder, so it answers in an environment that has the
packages of its requirements.txt, with or without Langmill, as on the day it was registered.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

if TYPE_CHECKING:
    from langmill.tasks.loading import LoadedModel

_logger = logging.getLogger("langmill.package")  # this file has no name of its own where MLflow runs it


class LangmillModel(PythonModel):  # type: ignore[misc]
    """Answers rows: texts to go on from, or texts to label."""

    loaded: LoadedModel

    def load_context(self, context: Any) -> None:
        """Load the model folder, every byte checked against its manifest."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from langmill.tasks.loading import load_model

        self.loaded = load_model(Path(context.artifacts["model"]), verify=True)

    def predict(self, context: Any, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """One row of answer for each text of the input.

        The input is a text, a list of texts, or a table whose column `prompt` (of a classifier: `text`) has them, also
        as a dictionary of lists. `params` are the signature's; what is left out is the model's
        `generation_config.json`. A warning says which texts a classifier truncated, as it did in training.

        Raises:
            ModelError: There is no text, one is empty or is none, or a prompt is too long.
            ConfigError: The parameters do not go together, or more tokens are asked for than fit behind a prompt.
        """
        from langmill.tasks.base import Classifies

        loaded = self.loaded
        classifies = isinstance(loaded.task, Classifies)
        texts = _texts(model_input, "text" if classifies else "prompt")
        if classifies:
            return _classify(loaded, texts)
        return pd.DataFrame({"text": [loaded.generate(text, params or {}, loaded.recipe) for text in texts]})


def _texts(given: Any, name: str) -> list[str]:
    """The texts of an input, as they are: what is missing or empty is nothing that anybody meant to ask.

    MLflow makes a table of whatever it is given: of a list with a column that has a number for a name, of a dictionary
    of lists with a single row that has the list.
    """
    from langmill.errors import ModelError

    table = pd.DataFrame([given] if isinstance(given, str | Mapping) else given)
    found = next((column for column in table.columns if column == name or not isinstance(column, str)), None)
    if found is None and len(table.columns):
        columns = ", ".join(map(str, table.columns))
        raise ModelError(f"The input has the columns {columns}; give the texts as {name}, and nothing else.", "unknown")
    values = [] if found is None else list(table[found])
    if len(values) == 1 and isinstance(values[0], list | np.ndarray):
        values = list(values[0])
    if not values:
        raise ModelError("There is no text in the input; give at least one.", "too_few")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            sentence = f"Row {number} of {name} is {value!r:.60}, a {type(value).__name__}; give a text."
            raise ModelError(sentence, "wrong_type")
        if not value:
            raise ModelError(f"Row {number} of {name} is an empty text; leave it out, or give a text.", "missing")
    return [str(value) for value in values]


def _classify(loaded: LoadedModel, texts: list[str]) -> pd.DataFrame:
    from langmill.tasks.base import Classifies

    assert isinstance(loaded.task, Classifies)
    labels = loaded.task.labels
    if note := loaded.truncation_note(texts, loaded.recipe):
        _logger.warning(note)
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
