"""Imports without the garbage collector, and without what Lightning brings along and nobody uses."""

import gc
import subprocess
import sys

import pytest

from langmill.imports import without_collecting

pytestmark = pytest.mark.unit


def test_the_collector_rests_meanwhile_and_never_sees_what_came_in():
    gc.unfreeze()
    try:
        with pytest.raises(ModuleNotFoundError), without_collecting():
            assert not gc.isenabled()
            import there_is_no_such_module  # noqa: F401
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_lightning_gets_its_two_classes_of_torchmetrics_and_others_get_the_rest():
    program = """
import sys
from langmill.imports import defer_torchmetrics
defer_torchmetrics()
from langmill.training import fitting
print([name for name in ("scipy", "transformers", "torchmetrics.functional") if name in sys.modules])
from pytorch_lightning.utilities.types import Metric
from torchmetrics import MeanMetric
import torchmetrics
print(issubclass(MeanMetric, Metric), torchmetrics.Metric is Metric, "torchmetrics.functional" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\nTrue True True\n"
