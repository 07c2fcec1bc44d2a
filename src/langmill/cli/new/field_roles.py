"""Which field of some rows is the text, the label, the target and the id: by their names and by their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from langmill.cli.new.columns import Column, columns_of
from langmill.cli.new.field_names import ID, LABEL, NO_TEXT, PAIRS, TEXT, fit, language_of, words_of

Role = Literal["text", "label", "target", "id"]
ROLES: tuple[Role, ...] = ("text", "label", "target", "id")
_NEAR = 0.12  # scores this near to the best one decide nothing; a name and values give 1 each at most
_NEAR_SHARE = 0.85
_NESTED = 0.85  # the fit of a name from which on it is said of a field that it can't be the label
_NAMED = 0.5  # the fit of a name from which on a field is named like a label
_OFF = 0.6  # what a name like `url` or `author` takes from a field of texts
_LEAST_TEXT = 0.02
_LEAST_LABEL = 0.15
_TARGET_CLASSES = 20  # different short values up to which a field is one of classes


@dataclass(frozen=True)
class Roles:
    """The fields by what they are, and why; or the fields among which nothing decides."""

    fields: Mapping[Role, str]
    why: Mapping[Role, str]
    """In a word or two, for the table; of a role that no field has, why one that is called like it is not taken."""
    near: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    """For a role that is not decided: the fields that are nearly as good as each other, the best first."""
    task: str | None = None
    """The task that such rows are mostly for; None where any is."""


def roles_of(rows: Sequence[Mapping[str, object]], given: Mapping[Role, str | None] | None = None) -> Roles:
    """Decide which field is what.

    A pair of names that belong together (`prompt`, `completion`; `en`, `de`) comes first. Else the text is the field
    whose name and values together score best: how well the name fits, and whether the values are long, various and in
    words. A label has a name like one and few, short values. An id is short and different in each row.

    Args:
        rows: First rows of a file.
        given: What a person has said already: a field's name by its role, None for a role that no field has.
    """
    return _Decider(columns_of(rows), given or {}).decide()


class _Decider:
    """Gives one role after the other away."""

    def __init__(self, columns: Sequence[Column], given: Mapping[Role, str | None]) -> None:
        self._columns = columns
        self._given = given
        self._fields: dict[Role, str] = {role: name for role, name in given.items() if name is not None}
        self._why: dict[Role, str] = dict.fromkeys(self._fields, "said")
        self._near: dict[Role, tuple[str, ...]] = {}
        self._task: str | None = None

    def decide(self) -> Roles:
        """Every role."""
        self._pair()
        self._text()
        if "target" in self._fields and self._task is None:
            self._task = "completion"
        self._label()
        self._id()
        return Roles(self._fields, self._why, self._near, self._task)

    def _free(self) -> list[Column]:
        return [column for column in self._columns if column.name not in self._fields.values()]

    def _take(self, role: Role, name: str, why: str) -> None:
        if role not in self._given:
            self._fields[role], self._why[role] = name, why

    def _pair(self) -> None:
        found = _pair(self._columns, self._given)
        if isinstance(found, _Pair):
            self._take("text", found.text, found.why)
            self._take("target", found.target, found.why)
            self._task = found.task
        elif found is not None:
            said = {role: self._given[role] for role in ("text", "target") if role in self._given}
            open_role: Role = "target" if "text" in said else "text"
            if set(said.values()) <= set(found) and open_role not in said:
                self._near[open_role] = tuple(name for name in found if name not in said.values())
        if "target" not in {*self._fields, *self._near, *self._given} and (nested := _nested_target(self._columns)):
            self._why["target"] = f"{nested} holds lists or objects; of texts, --target {nested} joins them"

    def _text(self) -> None:
        if {"text"} & {*self._fields, *self._near, *self._given}:
            return
        best = _best_text(self._free())
        if len(best) > 1:
            self._near["text"] = tuple(best)
        elif best:
            column = next(column for column in self._columns if column.name == best[0])
            self._take("text", column.name, _why_text(column))

    def _label(self) -> None:
        free = self._free()
        if "label" not in self._given and ("target" not in self._fields or _has_plain_label(free)):
            best = _best_label(free)
            if len(best) > 1:
                self._near["label"] = tuple(best)
            elif best:
                column = next(column for column in free if column.name == best[0])
                values = f"{column.num_distinct} value{'' if column.num_distinct == 1 else 's'}"
                self._take("label", column.name, f"its name, {values}")
            elif nested := [column.name for column in free if column.nested and fit(column.name, LABEL) >= _NESTED]:
                self._why["label"] = f"{nested[0]} holds lists or objects"
        if "label" in self._fields and self._task is None:
            self._task = "classification"

    def _id(self) -> None:
        scored = {column.name: fit(column.name, ID) for column in self._free() if column.is_identifying}
        best = max(scored, key=lambda name: scored[name], default=None)
        if best is not None and scored[best] >= _NAMED:
            self._take("id", best, "its name, none twice")


def _has_plain_label(columns: Sequence[Column]) -> bool:
    """Whether a field is called `label` and looks like one; beside a target nothing less makes a label."""
    return any(words_of(column.name) == ("label",) and column.label_value for column in columns)


# Pairs ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    text: str
    target: str
    task: str
    why: str


def _pair(columns: Sequence[Column], given: Mapping[Role, str | None]) -> _Pair | tuple[str, ...] | None:
    """The two fields of a text and its target; several names of languages among which nothing decides; or None."""
    if "target" in given and given["target"] is None:
        return None
    single = [column for column in columns if column.present > 0 and not column.nested]
    texts = [column for column in single if column.texts >= 0.5]
    by_name, targets = _by_name(texts), _by_name([each for each in single if each in texts or _is_answer(each)])
    for (text, target), task in PAIRS.items():
        if text not in by_name or target not in targets:
            continue
        pair = _Pair(by_name[text].name, targets[target].name, task, f"a pair: {text}, {target}")
        said = given.get("text", pair.text), given.get("target", pair.target)
        labelled = _has_plain_label(columns)
        if said == (pair.text, pair.target) and _is_pair(by_name[text], targets[target], labelled=labelled):
            return pair
    return _languages(texts, given)


def _by_name(columns: Sequence[Column]) -> dict[str, Column]:
    return {"".join(words_of(column.name)): column for column in reversed(columns)}


def _is_answer(column: Column) -> bool:
    """Whether a field is called like what is written for a text, so that numbers in it are meant to be written."""
    return words_of(column.name)[-1:] in (("answer",), ("completion",), ("response",), ("output",))


def _nested_target(columns: Sequence[Column]) -> str | None:
    """A field of lists or objects that by its name is what is to be written for another field's text."""
    names = _by_name(columns)
    pairs = ((names[text], names[target]) for text, target in PAIRS if text in names and target in names)
    return next((target.name for text, target in pairs if target.nested and not text.nested), None)


def _is_pair(text: Column, target: Column, *, labelled: bool) -> bool:
    """Whether the values agree with the names: `source` may be a website, `target` a class where nothing else is."""
    if {text.name.casefold(), target.name.casefold()} & {"source", "target"}:
        return text.letters > 0 and not _are_classes(text) and (labelled or not _are_classes(target))
    return text.text_value >= _LEAST_TEXT


def _are_classes(column: Column) -> bool:
    """Whether a few short values stand in all rows; a handful of rows can't tell."""
    few = column.num_distinct <= min(_TARGET_CLASSES, max(2, column.rows // 4))
    return column.rows >= 5 and few and column.mean_length < 20 and column.prose < 0.5


def _languages(texts: Sequence[Column], given: Mapping[Role, str | None]) -> _Pair | tuple[str, ...] | None:
    """Two fields whose names differ in the language alone, as `en` and `de` or `text_en` and `text_de`."""
    named: dict[tuple[str, ...], list[tuple[Column, str]]] = {}
    for column in texts:
        found = language_of(column.name)
        if found is not None and column.letters > 0.3 and column.mean_length >= 2 and not _is_code(column):
            named.setdefault(found[1], []).append((column, found[0]))
    for group in named.values():
        if len({language for _, language in group}) < 2:
            continue
        names = tuple(column.name for column, _ in group)
        said = [name for name in (given.get("text"), given.get("target")) if name in names]
        if said:
            others = [name for name in names if name not in said]
            names = tuple(said) if len(said) == 2 else (said[0], *others) if "target" not in given else (*others, *said)
        if len(names) > 2:
            return names
        languages = [language for column, language in group if column.name in names]
        return _Pair(names[0], names[1], "text_to_text", f"languages: {', '.join(languages)}")
    return None


def _is_code(column: Column) -> bool:
    """Whether the values are short signs, as of a field `id` that is no Indonesian."""
    return column.prose == 0 and (column.is_identifying or column.mean_length < 4)


# Scores --------------------------------------------------------------------------------------------------------------


def text_score(column: Column) -> float:
    """How good a field is as the text, from 0 (not at all) to 2: its name and its values."""
    value = column.text_value
    if value < _LEAST_TEXT:
        return 0.0
    name = fit(column.name, TEXT)
    off = _OFF if name < _NAMED and NO_TEXT & set(words_of(column.name)) else 0.0
    return max(0.01, name * min(1, 3 * value) + value - off)  # a good name over hardly any text is not much


def _best_text(columns: Sequence[Column]) -> list[str]:
    """The best field, and those that are nearly as good."""
    scored = {column.name: score for column in columns if (score := text_score(column)) > 0}
    best = _nearest(scored)
    if words_of(best[0] if best else "") == ("text",):  # what it is called everywhere
        return [name for name in best if words_of(name) == ("text",)]
    return best


def label_score(column: Column) -> float:
    """How good a field is as the label, from 0 to 2; 0 without a name like a label's or values like classes."""
    name, value = fit(column.name, LABEL), column.label_value
    if words_of(column.name)[:1] in (("is",), ("has",)):
        name = max(name, 0.7)
    return name + value if name >= _NAMED and value >= _LEAST_LABEL else 0.0


def _best_label(columns: Sequence[Column]) -> list[str]:
    scored = {column.name: score for column in columns if (score := label_score(column)) > 0}
    best = _nearest(scored)
    if words_of(best[0] if best else "") in (("label",), ("labels",)):
        return [name for name in best if words_of(name) == words_of(best[0])]
    return best


def _nearest(scored: Mapping[str, float]) -> list[str]:
    ranked = sorted(scored, key=lambda name: -scored[name])
    most = max(scored.values(), default=0.0)
    return [name for name in ranked if scored[name] > max(most - _NEAR, _NEAR_SHARE * most) or scored[name] == most]


def _why_text(column: Column) -> str:
    """Why a field is the text, in a word or two."""
    reasons = ["its name"] if fit(column.name, TEXT) >= _NAMED else []
    if column.mean_length >= 40:
        reasons.append("long texts")
    elif column.prose >= 0.5:
        reasons.append("words")
    return ", ".join(reasons) or "the only text"
