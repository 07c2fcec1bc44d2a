"""Plug-ins of every kind: known by their names, imported when asked for; other distributions' by all their code."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch

from langmill.config.sections import FormatSection, Source
from langmill.data.cleaning.base import CLEANING_STEPS
from langmill.data.document import Document
from langmill.data.formats.base import FORMATS, build_format
from langmill.data.sources.base import SOURCES, build_source
from langmill.data.sources.folder import raw_files
from langmill.errors import Code, ConfigError
from langmill.export.base import EXPORTERS
from langmill.files import write_text
from langmill.models.base import ARCHITECTURES, build_backbone
from langmill.plugins import PlugInError, Registry, find_plugins
from langmill.registry.rules.base import RULES
from langmill.scoring.base import SCORERS, build_scorer
from langmill.scoring.metrics.base import METRICS
from langmill.serving.routes.base import ROUTES
from langmill.tasks.base import TASKS, build_task
from langmill.tokenization.algorithms.base import TOKENIZER_ALGORITHMS
from tests.refused import refused

pytestmark = pytest.mark.unit
NAMES = [
    ("langmill.tasks", "toy_task"),
    ("langmill.architectures", "toy_network"),
    ("langmill.tasks", "classification"),
]


REGISTRIES: list[Registry[Any]] = [
    ARCHITECTURES, TASKS, SCORERS, METRICS, FORMATS, SOURCES, CLEANING_STEPS, RULES, ROUTES, EXPORTERS,
    TOKENIZER_ALGORITHMS,
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages with one plug-in of a package and a module."""
    write_text(tmp_path / "toy_package" / "__init__.py", "")
    write_text(tmp_path / "toy_package" / "deep" / "network.py", "width = 1")
    write_text(tmp_path / "toy_module.py", "x = 1")
    about = "Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.5\nRequires-Dist: numpy>=1\n"
    write_text(tmp_path / "toy_plugin-1.5.dist-info" / "METADATA", about)
    points = (
        "[langmill.tasks]\ntoy_task = toy_module\n[langmill.architectures]\ntoy_network = toy_package.deep.network\n"
    )
    write_text(tmp_path / "toy_plugin-1.5.dist-info" / "entry_points.txt", points + "[others]\nname = json\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    # What was registered and imported here is forgotten again: other tests of this process know nothing of it.
    for registry in REGISTRIES:
        for name in [name for name in registry._classes if name.startswith("toy")]:
            del registry._classes[name]
    for name in [name for name in sys.modules if name.startswith("toy")]:
        del sys.modules[name]


def count_digests(site: Path, *paths: str) -> int:
    """How many digests the plug-in has in turn, as one of these files after the other is changed."""
    digests = {find_plugins(NAMES)[0].digest}
    for path in paths:
        write_text(site / path, "changed = 2")
        digests.add(find_plugins(NAMES)[0].digest)
    return len(digests)


def test_a_plugin_is_known_by_all_its_code_and_its_version(site: Path) -> None:
    (plugin,) = find_plugins(NAMES)
    assert (plugin.name, plugin.version, plugin.requires) == ("toy-plugin", "1.5", ("numpy>=1",))
    assert [path.name for path in plugin.packages] == ["toy_module.py", "toy_package"]
    digest = plugin.digest
    write_text(site / "toy_package" / "__pycache__" / "network.pyc", "byte code")
    assert plugin.digest == digest
    assert count_digests(site, "toy_package/deep/network.py", "toy_module.py") == 3


def record(site: Path, *files: str) -> None:
    """The list of files that every installer writes."""
    lines = [*files, "toy_package/__init__.py", "toy_package/deep/network.py", "toy_module.py"]
    write_text(site / "toy_plugin-1.5.dist-info" / "RECORD", "".join(f"{file},,\n" for file in lines))


def test_packages_without_entry_points_count(site: Path) -> None:
    write_text(site / "toy_utils" / "more.py", "y = 1")
    write_text(site / "toy_single.py", "z = 1")
    record(
        site, "toy_utils/more.py", "toy_single.py", "toy_plugin-1.5.dist-info/METADATA", "toy.pth", "../../bin/toy.py",
        "__pycache__/toy_module.cpython-311.pyc", "toy-stubs/a.py", "licences/LICENSE",
    )  # fmt: skip
    (plugin,) = find_plugins(NAMES)
    assert [path.name for path in plugin.packages] == ["toy_module.py", "toy_package", "toy_single.py", "toy_utils"]
    assert count_digests(site, "toy_utils/more.py", "toy_single.py") == 3


def test_an_editable_ones_list_names_no_code(site: Path) -> None:
    write_text(site / "__editable___toy_finder.py", "")
    record(site, "__editable___toy_finder.py")
    write_text(site / "toy_plugin-1.5.dist-info" / "direct_url.json", '{"url": "", "dir_info": {"editable": true}}')
    (plugin,) = find_plugins(NAMES)
    assert [path.name for path in plugin.packages] == ["toy_module.py", "toy_package"]


def test_every_part_of_a_namespace_counts(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "toy_package" / "__init__.py").unlink()
    write_text(site / "elsewhere" / "toy_package" / "other.py", "a = 1")
    monkeypatch.syspath_prepend(str(site / "elsewhere"))
    importlib.invalidate_caches()
    (plugin,) = find_plugins(NAMES)
    parts = [site / "toy_module.py", site / "elsewhere" / "toy_package", site / "toy_package"]
    assert list(plugin.packages) == parts
    assert count_digests(site, "elsewhere/toy_package/other.py", "toy_package/deep/network.py") == 3


def test_langmills_own_are_none(site: Path) -> None:
    assert find_plugins([("langmill.tasks", "classification"), ("langmill.architectures", "decoder")]) == []


def test_a_plugin_without_code_is_named(site: Path) -> None:
    (site / "toy_module.py").unlink()
    importlib.invalidate_caches()
    with refused(ConfigError, "missing", "toy-plugin", "toy_module"):
        find_plugins(NAMES)


# Names and classes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.group)
def test_every_name_of_ours_is_a_class_of_its_kind(registry: Registry[Any]) -> None:
    for name in registry.names():
        assert issubclass(registry.find(name), registry._base)


def test_names_are_known_without_importing() -> None:
    program = (
        "import sys; from langmill.data.sources.base import SOURCES; from langmill.data.formats.base import FORMATS\n"
        "SOURCES.names(); FORMATS.names(); FORMATS.find('poems')\n"
        "names = ('torch', 'langmill.data.formats.', 'langmill.data.sources.')\n"
        "print(*[name.rpartition('data.')[2] for name in sorted(sys.modules) if name.startswith(names)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # poems are JSON, whose rows have the checks of tables
    assert done.stdout.split() == [
        "formats.base", "formats.json_rows", "formats.poems", "formats.tables", "sources.base",
    ]  # fmt: skip


def test_a_name_that_nobody_knows(site: Path) -> None:
    names = "gru, lstm, naive_bayes_ngrams, pretrained, rnn, toy_network."
    with refused(
        PlugInError, "unknown", "x.yaml: model.architecture", "toy_netwrk", names, "mean toy_network?"
    ) as caught:
        ARCHITECTURES.find("toy_netwrk", "x.yaml")
    assert caught.value.key == "model.architecture"


@pytest.mark.parametrize(
    ("code", "module", "told"),
    [
        ("not_registered", "x = 1", 'put @TASKS.register("toy_task") over its class'),
        ("not_importable", "import toy_nowhere", "toy_module of toy-plugin can't be imported (ModuleNotFoundError: No"),
        ("not_importable", "1 / 0", "(ZeroDivisionError: division by zero); mend or uninstall it."),
        (
            "wrong_type",
            '@TASKS.register("toy_task")\nclass Toy: ...',
            "toy_module.Toy is registered as task.name: toy_task",
        ),
        ("duplicate", '@TASKS.register("completion")\nclass Toy(Task): ...', "task.name: completion is brought by"),
    ],
)
def test_code_that_is_no_plugin(site: Path, code: Code, module: str, told: str) -> None:
    TASKS.find("completion")
    write_text(site / "toy_module.py", f"from langmill.tasks.base import TASKS, Task\n{module}\n")
    with refused(PlugInError, code, told):
        TASKS.find("toy_task")


def test_a_name_that_two_bring(site: Path) -> None:
    write_text(site / "toy_plugin-1.5.dist-info" / "entry_points.txt", "[langmill.tasks]\ncompletion = toy_module\n")
    with refused(PlugInError, "duplicate", "langmill.tasks.completion and toy_module of toy-plugin"):
        TASKS.find("completion")


TOYS = """
from dataclasses import dataclass

from langmill.config.constraints import require
from langmill.data.formats.base import FORMATS, Format
from langmill.data.sources.base import SOURCES, CorpusSource
from langmill.models.base import ARCHITECTURES, build_backbone
from langmill.models.recurrent import Recurrent, RecurrentSettings
from langmill.tasks.base import TASKS
from langmill.scoring.base import SCORERS
from langmill.scoring.conditional_generation import ConditionalGenerationScorer
from langmill.scoring.metrics.base import METRICS, BestOfReferences
from langmill.tasks.text_to_text import TextToTextTask
from torch import nn


@dataclass(frozen=True)
class NetworkOptions(RecurrentSettings):
    scale: float = 2.0


@ARCHITECTURES.register("toy_network")
class Network(Recurrent):
    options_class = NetworkOptions
    name = "toy_network"
    layers_class = nn.RNN
    num_gates = 1

    def forward(self, *inputs, **named):
        return self.settings.scale * super().forward(*inputs, **named)


@dataclass
class TaskOptions:
    shortest: int = 3


@TASKS.register("toy_task")
class Toy(TextToTextTask):
    options_class = TaskOptions
    scorer = "toy_scorer"

    def check(self, document):
        return None if len(document.text) >= self.options.shortest else "too_short"


@dataclass
class ScorerOptions:
    metrics: list[str]


@SCORERS.register("toy_scorer")
class ToyScorer(ConditionalGenerationScorer):
    options_class = ScorerOptions

    @property
    def metrics(self):
        return tuple(metric.metric for metric in self.text_metrics)


@METRICS.register("toy_metric")
class FirstLetter(BestOfReferences):
    title = "First letter"

    def against(self, produced, reference):
        return float(produced[:1] == reference[:1])


@dataclass
class LinesOptions:
    comment: str


@FORMATS.register("toy_lines")
class Lines(Format):
    options_class = LinesOptions
    file_endings = frozenset({".lines"})

    def read(self, file, path):
        for number, line in enumerate(file, start=1):
            if not line.decode().startswith(self.options.comment):
                yield number, {"text": line.decode().strip()}


@dataclass
class NumbersOptions:
    count: int

    def __post_init__(self):
        require(self.count >= 1, "source.options.count", self.count, "1 or more")


@SOURCES.register("toy_numbers")
class Numbers(CorpusSource):
    options_class = NumbersOptions

    def fetch(self, file_format, into, downloads):
        (into / "all.lines").write_text("# numbers\\n" + "".join(f"{n}00\\n" for n in range(self.options.count)))
        return {}

    def facts(self):
        return super().facts() | {"count": self.options.count}
"""
NETWORK = {"embedding_dim": 4, "dim": 4, "num_layers": 1, "tie_embeddings": True, "dropout": 0.0}


@pytest.fixture
def toys(site: Path) -> None:
    """One plug-in of each kind, in a distribution of its own."""
    write_text(site / "toy_module.py", TOYS)
    kinds = {"architectures": "network", "tasks": "task", "scorers": "scorer", "metrics": "metric"}
    kinds |= {"formats": "lines", "sources": "numbers"}
    points = "".join(f"[langmill.{kind}]\ntoy_{name} = toy_module\n" for kind, name in kinds.items())
    write_text(site / "toy_plugin-1.5.dist-info" / "entry_points.txt", points)


def test_one_of_each_kind_from_outside_is_used(toys: None, tmp_path: Path) -> None:
    """Cleaning steps, gate rules, routes and exporters from outside have their tests where theirs are."""
    source = build_source(Source("toy_numbers", [], None, {"count": 3}), "x.yaml")
    file_format = build_format(FormatSection("toy_lines", {"comment": "#"}), "x.yaml")
    (tmp_path / "raw").mkdir()
    assert source.fetch(file_format, tmp_path / "raw", tmp_path) == {}
    assert source.facts() == {"kind": "toy_numbers", "count": 3}
    assert source.local is None
    (file,) = raw_files(tmp_path / "raw", file_format)
    rows = list(file_format.read(BytesIO(file.read_bytes()), PurePosixPath(file.name)))
    assert rows == [(2, {"text": "000"}), (3, {"text": "100"}), (4, {"text": "200"})]
    task = build_task("toy_task", {}, (), "x.yaml")
    assert [task.check(Document("a", text)) for text in ("000", "0")] == [None, "too_short"]
    scorer: Any = build_scorer(task, {"metrics": ["exact_match", "toy_metric"]}, "x.yaml")
    assert [metric.name for metric in scorer.metrics] == ["exact_match", "toy_metric"]
    documents = [Document("a", "x", target="good"), Document("b", "x", target="bad")]
    scores = scorer.table(documents, {}, ["great", "good"])
    found = scorer.measure(scores, np.ones((1, 2)))
    assert {name: float(value[0]) for name, value in found.items()} == {"exact_match": 0.0, "toy_metric": 0.5}
    torch.manual_seed(0)
    once, twice = (build_backbone(name, NETWORK, 8, 6, "x.yaml").eval() for name in ("rnn", "toy_network"))
    twice.load_state_dict(once.state_dict())
    tokens_BT = torch.arange(6)[None]
    torch.testing.assert_close(twice(tokens_BT), 2 * once(tokens_BT))
    names = [(registry.group, name) for registry in REGISTRIES for name in registry.names() if name.startswith("toy_")]
    assert len(names) == 6
    (plugin,) = find_plugins(names)
    assert len(plugin.entry_points) == 6


@pytest.mark.parametrize(
    ("build", "code", "told"),
    [
        (
            lambda: build_source(Source("toy_numbers", [], None, {"count": 0}), "x.yaml"),
            "impossible",
            "options.count is 0",
        ),
        (lambda: build_source(Source("toy_numbers", [], None), "x.yaml"), "missing", "source.options.count"),
        (lambda: build_format(FormatSection("toy_lines", {"coment": "#"}), "x.yaml"), "unknown", "mean comment?"),
        (lambda: build_task("toy_task", {"shortest": "3"}, (), "x.yaml"), "wrong_type", "task.options.shortest is '3'"),
        (lambda: build_backbone("toy_network", NETWORK | {"sclae": 1.0}, 8, 6, "x.yaml"), "unknown", "mean scale?"),
    ],
)
def test_wrong_options_of_one_from_outside_are_refused(
    toys: None, build: Callable[[], object], code: Code, told: str
) -> None:
    with refused(ConfigError, code, "x.yaml: ", told):
        build()
