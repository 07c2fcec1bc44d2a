"""The typed sections of the settings, one module each.

No field has a default: a default has one home, the YAML under `conf/`. The docstring under a field says what it
means and in which unit; `langmill config --explain` prints it. A field's bounds stand at its type, what fields must say
together in `__post_init__`; `langmill.config.typed` adds the file to what is refused.
"""

from langmill.config.sections.contract import Contract, Reference
from langmill.config.sections.corpus import (
    COPIES,
    Cleaning,
    Corpus,
    Engine,
    Fields,
    FileFields,
    Folding,
    FormatSection,
    Labels,
    Leakage,
    NearDuplicates,
    Split,
    fits,
)
from langmill.config.sections.evaluation import Evaluation
from langmill.config.sections.gate import Gate
from langmill.config.sections.operation import Operation, Schedule
from langmill.config.sections.pretrained import Pretrained
from langmill.config.sections.recipe import ModelSection, Recipe, ScoringSection, TaskSection
from langmill.config.sections.serving import Backend, Serving, Trial, TrialMode, Vllm
from langmill.config.sections.sources import CheckpointSource, Package, Source
from langmill.config.sections.tokenizer import PRETRAINED, Tokenizer, TokenizerNormalizer, TokenizerPattern
from langmill.config.sections.training import (
    Accelerator,
    Optimizer,
    OptimizerName,
    Precision,
    Strategy,
    Training,
    WeightFormat,
)

__all__ = [
    "COPIES", "PRETRAINED", "Accelerator", "Backend", "CheckpointSource", "Cleaning", "Contract", "Corpus", "Engine",
    "Evaluation", "Fields", "FileFields", "Folding", "FormatSection", "Gate", "Labels", "Leakage", "ModelSection",
    "NearDuplicates", "Operation", "Optimizer", "OptimizerName", "Package", "Precision", "Pretrained", "Recipe",
    "Reference", "Schedule", "ScoringSection", "Serving", "Source", "Split", "Strategy", "TaskSection", "Tokenizer",
    "TokenizerNormalizer", "TokenizerPattern", "Training", "Trial", "TrialMode", "Vllm", "WeightFormat", "fits",
]  # fmt: skip
