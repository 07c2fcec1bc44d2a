"""`langmill tokenizers`: vocabularies of one corpus, learned and measured side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from langmill.cli.command import command

if TYPE_CHECKING:
    from langmill.evaluation.tokenizers import Entry


class _List(click.ParamType[Any]):
    """Values with commas between them."""

    def __init__(self, name: str, item: type) -> None:
        self.name = name
        self._item = item

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[object]:
        """The values; a sentence where one is not of the type."""
        if isinstance(value, list):
            return value
        try:
            return [self._item(part.strip()) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of {self.name} with commas between them.", param, ctx)


@command(
    name="tokenizers",
    example="langmill tokenizers reviews\n"
    "langmill tokenizers reviews --algorithms bpe,unigram --sizes 1024,4096,16384 --train 60",
)
@click.argument("corpus")
@click.option(
    "--algorithms",
    type=_List("names", str),
    default="bpe,unigram,wordpiece,character,byte",
    show_default=True,
    help="Algorithms, with commas between them.",
)
@click.option(
    "--sizes",
    type=_List("numbers", int),
    default="4096",
    show_default=True,
    help="Entries of each vocabulary, special tokens included; with commas between them.",
)
@click.option(
    "--normalizer",
    type=click.Choice(["none", "nfc", "nfkc", "lowercase"]),
    default="none",
    show_default=True,
    help="What is done to each text before.",
)
@click.option(
    "--train",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Train a small decoder with each for so many seconds of processor time, and give its bits per byte.",
)
@click.option(
    "--max-documents",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="Documents to learn from, at most, and a tenth as many to measure on; drawn by seed.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws documents and first weights.")
def tokenizers(
    corpus: str,
    *,
    algorithms: list[str],
    sizes: list[int],
    normalizer: str,
    train: float,
    max_documents: int,
    seed: int,
) -> None:
    """Compare tokenizers on a corpus before choosing one.

    Each vocabulary is learned on training documents of CORPUS and measured on validation documents; the test split is
    not looked at. --train adds bits per byte at equal time: the same small network and the same seconds for each, so
    that a vocabulary pays for its rows and is paid by its shorter texts. Table, CSV, JSON and a plot are in
    .langmill/tokenizers/CORPUS.
    """
    from langmill.cli.workspace import require_workspace
    from langmill.config.compose import compose_corpus, compose_evaluation
    from langmill.config.sections import TokenizerNormalizer
    from langmill.evaluation.scoring import reproducible
    from langmill.evaluation.tokenizers import draw_texts, write_entries
    from langmill.stages.bake_off import BakeOff
    from langmill.workspace import Workspace

    require_workspace()
    workspace, evaluation = Workspace(), compose_evaluation()
    compose_corpus(corpus)  # which says where there is none of the name
    folder = workspace.tokenizers_compared(corpus)
    bake_off = BakeOff(
        draw_texts(workspace.documents(corpus), max_documents, seed),
        TokenizerNormalizer(normalizer),
        train,
        seed,
        evaluation,
        folder / "vocabularies",
    )
    with reproducible(evaluation.threads):
        entries = bake_off.run(algorithms, sizes)
    write_entries(entries, folder)
    click.echo(_shown(entries, folder))


def _shown(entries: list[Entry], folder: Path) -> str:
    from langmill.cli.results import in_columns

    trained = any(entry.bits_per_byte is not None for entry in entries)
    header = ["vocabulary", "entries", "bytes/token", "tokens/word", "unknown", "lost", "used", "MB/s", "learned in"]
    rows = [[*header, *(["bits/byte", "MB read"] if trained else [])]]
    for entry in entries:
        found = entry.measures
        rows.append(
            [
                entry.name,
                f"{entry.entries:,}",
                f"{found.bytes_per_token:.3f}",
                "-" if found.tokens_per_word is None else f"{found.tokens_per_word:.2f}",
                f"{found.unknown_rate:.2%}",
                f"{found.lost_rate:.1%}",
                f"{found.used_share:.0%}",
                f"{found.megabytes_per_second:.1f}",
                f"{entry.learned_seconds:.1f} s",
            ]
        )
        if entry.bits_per_byte is not None:
            rows[-1] += [f"{entry.bits_per_byte:.3f}{'*' if entry.losses else ''}", f"{entry.trained_megabytes:.1f}"]
    lines = [in_columns(rows)]
    if trained and any(entry.losses for entry in entries):
        lines.append(
            "* of what is left of the texts: what a vocabulary loses costs it nothing, so this does not compare."
        )
    return "\n".join([*lines, f"[{folder}]"])
