"""What `langmill show` tells, drawn for a terminal of any width; in a pipe with marks in the place of colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from langmill.cli.show.words import compared, excerpt, printable, visible
from langmill.data.report.words import counted

_CHARACTERS = 600  # of a text that are shown
_SCORES = "similarity", "containment", "score"  # of dropped.parquet, which in earlier versions lacks some


class Drawing:
    """Draws the views one under the other."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, markup=False, emoji=False)
        self._marks = not self.console.is_terminal or self.console.no_color

    def documents(self, view: Mapping[str, Any]) -> None:
        """Documents, and a line of counts."""
        splits = ", ".join(f"{number:,} {name}" for name, number in view["documents"].items())
        documents, rows = counted(sum(view["documents"].values()), "document"), counted(view["rows"], "row")
        self._say(f"{view['corpus']}: {documents} ({splits}) of {rows}")
        for word in ("quarantined", "dropped"):
            if view[word]:
                self._say(f"{word}: {_counts(view[word])}")
        for document in view["shown"]:
            self._head(document["id"], document["split"], *_labels(document))
            self._text(document["text"], document["target"])

    def dropped(self, view: Mapping[str, Any]) -> None:
        """Dropped documents, each beside its twin; or quarantined rows."""
        if "quarantined" in view:
            self._say(f"{view['corpus']}: {counted(view['quarantined'], 'row')} quarantined: {_words(view['reason'])}")
            for row in view["shown"]:
                self._head(row["where"])
                self._text(row["row"], None)
            return
        self._say(f"{view['corpus']}: {counted(view['documents'], 'document')} dropped: {_words(view['reason'])}")
        if not view["shown"]:
            self._say("None of them is kept in dropped.parquet.")
        elif any(row["kept"] for row in view["shown"]):
            only = ("[-so-]", "{+so+}") if self._marks else ("red, struck out", "green")
            self._say(f"{only[0]}: only in the dropped document; {only[1]}: only in the one that is kept")
        for row in view["shown"]:
            self._head(row["where"], row["split"], f"step {row['step']}" if row["step"] else None, *_scores(row))
            if row["kept"] is None:
                self._text(row["text"], row["target"])
                if row["twin"]:
                    self._say(f"Its twin is {row['twin']}.")
                continue
            kept = row["kept"]
            self._say(f"kept in its place: {kept['where'] or ''} {kept['id']} ({kept['split']})")
            cut = len(row["text"])  # dropped texts are kept shortened
            if row["text"] == kept["text"]:
                self._text(kept["text"], kept["target"] if row["target"] == kept["target"] else None)
            else:
                self._difference(
                    row["text"], kept["text"][: cut + _CHARACTERS] if len(kept["text"]) > cut else kept["text"]
                )
            if row["target"] is not None and row["target"] != kept["target"]:
                self._say("target:")
                self._difference(row["target"], kept["target"] or "")

    def why(self, view: Mapping[str, Any]) -> None:
        """The way of one document."""
        self._head(view["id"] or view["where"], view.get("split"), *_labels(view.get("document") or {}))
        self._say(f"row: {view['where'] or 'no file has it any more'}")
        if view["raw"] is not None:
            self._text(view["raw"]["text"], view["raw"]["target"])
        for step in view["steps"]:
            self._step(step)
        if view["id"] is None:
            self._fate(view)
            return
        document = view["document"]
        self._say(f"It is in the {view['split']} split.")
        if copies := document["metadata"].get("copies"):
            self._say(f"Documents that read alike or nearly: {copies}; this one stands for them.")
        if document["metadata"].get("leaked") == "yes":
            self._say("Training documents hold much of it: it counts as leaked.")
        for row in view["replaced"]:
            self._say(f"  {row['where']} was dropped for it ({_words(row['reason'])}).")
        changed = view["raw"] is not None and any(document[key] != view["raw"][key] for key in ("text", "target"))
        if view["steps"] and changed:
            self._say("Its text now:")
            self._text(document["text"], document["target"])

    def _fate(self, view: Mapping[str, Any]) -> None:
        dropped, quarantined = view["dropped"], view["quarantined"]
        if quarantined is not None:
            self._say(f"It is quarantined: {_words(quarantined['reason'])}.")
        elif dropped is None:
            self._say("It is no document: a duplicate, or another loss that dropped.parquet holds no row of.")
        else:
            by = f" by the step {dropped['step']}" if dropped["step"] else ""
            twin = " ".join(filter(None, (dropped.get("kept"), dropped["twin"])))
            for_the_sake_of = f"; {twin} is kept" if twin else ""
            scores = ", ".join(_scores(dropped))
            self._say(f"It was dropped{by}: {_words(dropped['reason'])}{scores and f' ({scores})'}{for_the_sake_of}.")

    def steps(self, view: Mapping[str, Any]) -> None:
        """Documents before and after a step."""
        which = counted(view["rows"], "row") if view["complete"] else f"the first {view['rows']:,} rows"
        self._say(
            f"{view['corpus']}, step {view['step']}, {which}: {counted(view['seen'], 'document')} came to it; "
            f"{view['changed']:,} changed, {view['dropped']:,} dropped"
        )
        for one in view["shown"]:
            self._head(
                one["where"], *([f"dropped: {_words(one['dropped'])}", *_scores(one)] if "dropped" in one else [])
            )
            self._pair(one)

    def _step(self, step: Mapping[str, Any]) -> None:
        if "dropped" in step:
            self._say(f"{step['step']}: dropped ({', '.join([_words(step['dropped']), *_scores(step)])})")
        elif not step["changed"]:
            self._say(f"{step['step']}: unchanged")
        else:
            kinds = _counts({kind: step["changes"].count(kind) for kind in step["changes"]})
            if step["before"] == step["after"]:  # it only noted something
                noted = ", ".join(f"{key}: {value}" for key, value in sorted(step["noted"].items()))
                self._say(f"{step['step']}: noted {noted}")
                return
            self._say(f"{step['step']}: changed{f' ({kinds})' if kinds else ''}")
            self._pair(step)

    def _pair(self, step: Mapping[str, Any]) -> None:
        before, after = step["before"], step["after"]
        if after is None:
            self._text(before["text"], before["target"])
            return
        if before["text"] != after["text"]:
            self._difference(before["text"], after["text"])
        if before["target"] != after["target"]:
            self._say("target:")
            self._difference(before["target"] or "", after["target"] or "")
        if step["noted"]:
            self._say(", ".join(f"{key}: {value}" for key, value in sorted(step["noted"].items())))
            if before["text"] == after["text"]:
                self._text(after["text"], after["target"])

    # Pieces -----------------------------------------------------------------------------------------------------------

    def _head(self, *parts: str | None) -> None:
        self.console.print()
        self.console.print(Rule(Text(printable("  ".join(filter(None, parts)))), align="left", style="dim"))

    def _say(self, sentence: str) -> None:
        self.console.print(Text(printable(sentence)))

    def _text(self, text: str, target: str | None) -> None:
        self._indented(Text(printable(excerpt(text, _CHARACTERS))))
        if target is not None:
            self._indented(Text("→ ").append(printable(excerpt(target, _CHARACTERS))))

    def _difference(self, before: str, after: str) -> None:
        drawn = Text()
        for kind, text in compared(before, after):
            if kind == "removed":
                drawn.append(f"[-{visible(text)}-]" if self._marks else visible(text), "red strike")
            elif kind == "added":
                drawn.append(f"{{+{visible(text)}+}}" if self._marks else visible(text), "green")
            elif kind == "skipped":
                drawn.append(" […] ", "dim")
            else:
                drawn.append(printable(text))
            if len(drawn) > 3 * _CHARACTERS:
                drawn.append(" […]", "dim")
                break
        self._indented(drawn)

    def _indented(self, text: Text) -> None:
        self.console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _scores(row: Mapping[str, Any]) -> list[str]:
    told = [f"taken for {row['detail']}"] if row.get("detail") else []
    return told + [f"{name} {_number(row[name])}" for name in _SCORES if row.get(name) is not None]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and value > 1 else f"{value:.2f}"


def _labels(document: Mapping[str, Any]) -> list[str]:
    label, metadata = document.get("label"), document.get("metadata") or {}
    told = [] if label is None else [f"label {label}"]
    return told + [f"{key} {value}" for key, value in sorted(metadata.items())][:3]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_words(name)}: {number:,}" for name, number in sorted(counts.items()))


def _words(name: str) -> str:
    return name.replace("_", " ")
