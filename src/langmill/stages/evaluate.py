"""Judge a recipe's model on the test split: metrics with intervals, baselines, slices, plots and a report."""

from __future__ import annotations

from langmill.config.compose import compose_operation, load_section
from langmill.config.sections import Corpus, Evaluation, Gate, ScoringSection, Training
from langmill.data.document import Split, documents_path, read_documents
from langmill.evaluation.base_model import base_of
from langmill.evaluation.evaluate import evaluate
from langmill.evaluation.folder import write_evaluation
from langmill.evaluation.runlog import log_evaluation
from langmill.evaluation.scoring import reproducible
from langmill.files import atomic_folder, read_manifest
from langmill.models.device import use_device
from langmill.scoring.base import TrainingData, build_scorer
from langmill.tasks.loading import load_model
from langmill.tokenization.shards import Shard, shard_facts
from langmill.workspace import Workspace


def main(name: str) -> None:
    """Write build/evaluation/NAME, and log it to the model's run."""
    workspace = Workspace()
    path = workspace.composed_file("recipe", name)
    corpus = load_section(Corpus, path, "corpus")
    evaluation = load_section(Evaluation, path, "evaluation")
    gate = load_section(Gate, path, "gate")
    operation = compose_operation()
    model = load_model(workspace.model(name), verify=True, device=use_device(operation.device))
    scorer = build_scorer(model.task, load_section(ScoringSection, path, "scoring").options, str(path))
    read_manifest(workspace.documents(corpus.name), verify=True)
    questions = load_section(Training, path, "training").samples
    splits = shard_facts(workspace.shards(name))["splits"]
    known = documents_path(workspace.documents(corpus.name), Split.train)
    documents = read_documents(documents_path(workspace.documents(corpus.name), Split.test))
    train = TrainingData(
        Shard.open(workspace.shards(name), Split.train),
        lambda: filter(lambda document: model.task.check(document) is None, read_documents(known)),
        {split: facts["truncated"] for split, facts in splits.items() if facts.get("truncated")},
    )
    with reproducible(evaluation.threads):
        evaluated = evaluate(
            model, documents, train, evaluation, gate.metric,
            scorer=scorer, group_by=corpus.split.by, base=base_of(model, workspace), questions=questions,
        )  # fmt: skip
    out = workspace.evaluation(name)
    with atomic_folder(out) as folder:
        write_evaluation(folder, model, evaluated, evaluation, gate.metric)
    run, speed = workspace.run(model.provenance), evaluated.tokens_per_second
    page = workspace.data_report(corpus.name)
    log_evaluation(out, corpus.name, run, operation.tracking_uri, tokens_per_second=speed, data_report=page)
