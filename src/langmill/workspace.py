"""Every path of a workspace, said once: its settings, its graph, what the stages make and what the commands keep.

dvc.yaml is the graph and names what its stages make itself; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The paths below a workspace's root: by default the current folder, where every command runs.

    Paths start with `root` as it is given, so that those of the current folder are short in messages and no output of a
    stage tells where the workspace lies.
    """

    root: Path = Path()

    # What people write ------------------------------------------------------------------------------------------------

    @property
    def conf(self) -> Path:
        """The folder of settings."""
        return self.root / "conf"

    def settings(self, group: str, name: str) -> Path:
        """The file of one name's settings in a group (`recipe`, `corpus`, …)."""
        return self.conf / group / f"{name}.yaml"

    def fingerprint(self, corpus: str) -> Path:
        """What was said of a source that can change when it was looked at last; `fetch` brings that."""
        return self.root / "data" / "fingerprints" / f"{corpus}.json"

    @property
    def graph_file(self) -> Path:
        """The graph of stages."""
        return self.root / "dvc.yaml"

    @property
    def graph_lock(self) -> Path:
        """What DVC noted of each stage's last run."""
        return self.root / "dvc.lock"

    # What the stages make ---------------------------------------------------------------------------------------------

    @property
    def build(self) -> Path:
        """The folder of everything that stages make."""
        return self.root / "build"

    @property
    def composed(self) -> Path:
        """The folder of resolved settings."""
        return self.build / "config"

    def composed_file(self, group: str, name: str) -> Path:
        """The resolved settings of one name in a group (`corpus`, `tokenizer`, `pretrained`, `recipe`)."""
        return self.composed / group / f"{name}.yaml"

    def raw(self, corpus: str) -> Path:
        """A corpus as its source gave it."""
        return self.build / "raw" / corpus

    def documents(self, corpus: str) -> Path:
        """A corpus cleaned and split."""
        return self.build / "documents" / corpus

    def contract(self, corpus: str) -> Path:
        """What came of a corpus's contract."""
        return self.build / "contracts" / corpus

    def data_report(self, corpus: str) -> Path:
        """The page of a corpus's data report, with what its contract says."""
        return self.contract(corpus) / "report.html"

    def tokenizer(self, name: str) -> Path:
        """A learned or pretrained vocabulary."""
        return self.build / "tokenizers" / name

    def shards(self, recipe: str) -> Path:
        """A recipe's documents as tokens."""
        return self.build / "shards" / recipe

    def model(self, name: str) -> Path:
        """A recipe's trained model, or a pretrained one."""
        return self.build / "models" / name

    def evaluation(self, recipe: str) -> Path:
        """A recipe's metrics, scores, plots and report."""
        return self.build / "evaluation" / recipe

    # What the commands keep -------------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """The folder of everything else: databases, logs, locks, checkpoints, caches."""
        return self.root / ".langmill"

    @property
    def artifacts(self) -> Path:
        """The files of MLflow's runs and versions."""
        return self.state / "artifacts"

    @property
    def comparisons(self) -> Path:
        """The plots of `langmill compare`."""
        return self.state / "comparisons"

    def tokenizers_compared(self, corpus: str) -> Path:
        """What `langmill tokenizers` found on a corpus: table, plot and the vocabularies."""
        return self.state / "tokenizers" / corpus

    @property
    def downloads(self) -> Path:
        """Archives of pinned packages by their SHA-256, kept so that fetching again needs no network."""
        return self.state / "downloads"

    def explanation(self, recipe: str) -> Path:
        """The plot of `langmill explain`."""
        return self.build / "explanations" / f"{recipe}.png"

    @property
    def events(self) -> Path:
        """What a run of the flow says of its steps."""
        return self.state / "progress" / "events.jsonl"

    def failed(self, address: str) -> Path:
        """The report of a stage that found its input of no use."""
        return self.state / "failed" / address

    def lock(self, name: str) -> Path:
        """The lock of a stage, by its address."""
        return self.state / "locks" / f"{name}.lock"

    def versions(self, corpus: str) -> Path:
        """The last versions of a corpus that runs have made, how these differ, and the page that tells it."""
        return self.state / "versions" / corpus

    @property
    def run_lock(self) -> Path:
        """The lock of whatever changes what the stages make: one run at a time."""
        return self.lock("run")

    @property
    def logs(self) -> Path:
        """The folder of logs."""
        return self.state / "logs"

    def log(self, name: str) -> Path:
        """The log of a stage, by its address, or of a server."""
        return self.logs / f"{name}.log"

    def output(self, address: str) -> Path:
        """What a stage's process wrote to its terminal."""
        return self.logs / f"{_as_file_name(address)}.out"

    @property
    def prefect(self) -> Path:
        """Prefect's own folder, its database in it."""
        return self.state / "prefect"

    def prefect_server(self, port: int) -> Path:
        """The number of the process that is the Prefect server on a port."""
        return self.prefect / f"server-{port}.pid"

    def progress(self, step: str) -> Path:
        """How far a running step is."""
        return self.state / "progress" / f"{_as_file_name(step)}.json"

    def rescored(self, recipe: str) -> Path:
        """The folder of scores that a recipe's champion got again, by a digest of what they are of."""
        return self.state / "rescored" / recipe

    @property
    def runs(self) -> Path:
        """The folder of training runs: their logs and checkpoints."""
        return self.state / "runs"

    def run(self, provenance: str) -> Path:
        """A training run, by the digest of what it trains from."""
        return self.runs / provenance

    @property
    def serving(self) -> Path:
        """The versions that the server has downloaded."""
        return self.state / "serving"

    def settled(self, recipe: str) -> Path:
        """What the flow concluded of a recipe's model."""
        return self.state / "settled" / f"{recipe}.json"

    @property
    def temporary(self) -> Path:
        """The folder for what is gone when a command ends."""
        return self.state / "tmp"

    @property
    def votes(self) -> Path:
        """Which of two answers people found better, one a line."""
        return self.state / "votes.jsonl"


def _as_file_name(address: str) -> str:
    return address.replace("/", "_").replace(":", "_")
