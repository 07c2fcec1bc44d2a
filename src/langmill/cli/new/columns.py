"""What the values of each field of some rows look like: how long, how various, how much like prose."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LOOKED_AT = 2000  # characters of a value
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ]\d{1,2}:\d{2}.*)?")
_LONG = 2.5  # the decimal logarithm of a length from which on longer is no better
_LETTERS = 0.6  # the share of letters that prose has at least
_PROSE_WORDS = 3
_LABEL_LENGTH = 40


@dataclass(frozen=True)
class Column:
    """One field over some rows."""

    name: str
    rows: int
    """Rows that were looked at."""
    present: float
    """Share of the rows that have a value there which is neither null nor empty."""
    texts: float
    """Share of the present values that are texts."""
    nested: float
    """Share of the present values that are lists or objects."""
    mean_length: float
    """Characters of a text, on average."""
    distinct: float
    """Different values to present values: 1 where no value stands twice."""
    num_distinct: int
    letters: float
    """Share of the characters that are letters, white space aside."""
    prose: float
    """Share of the texts with three words or more, a number among them; or six letters of a script without spaces."""

    @property
    def text_value(self) -> float:
        """How much the values look like texts to learn from, from 0 to 1: long, various, in words."""
        length = min(1.0, math.log10(1 + self.mean_length) / _LONG)
        various = 0.3 + 0.7 * self.distinct
        words = (0.25 + 0.75 * self.prose) * min(1, self.letters / _LETTERS)
        return self.present * self.texts * length * words * various

    @property
    def label_value(self) -> float:
        """How much the values look like classes, from 0 to 1: short, and each in many rows.

        A handful of rows can't tell: then any short value may be one.
        """
        if self.nested or not self.present or self.mean_length > _LABEL_LENGTH:
            return 0.0
        few = min(self.present * self.rows, 8) / 8  # how far the number of rows can be trusted
        repeated = 1 - self.distinct
        return self.present * (few * min(1, 2 * repeated) + (1 - few) * 0.5)

    @property
    def is_identifying(self) -> bool:
        """Whether each row has another short value there."""
        whole = self.present * self.rows
        return whole >= 2 and self.present == 1 and self.distinct == 1 and self.mean_length <= 200 and self.prose < 0.5


def columns_of(rows: Sequence[Mapping[str, object]]) -> list[Column]:
    """What each field of the rows looks like, in the order in which the fields first stand."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [_column(name, [row.get(name) for row in rows]) for name in names]


def _column(name: str, values: Sequence[object]) -> Column:
    there = [value for value in values if value is not None and value != "" and not _is_nan(value)]
    texts = [value[:_LOOKED_AT] for value in there if isinstance(value, str)]
    nested = sum(isinstance(value, list | dict | bytes) for value in there)
    written = [str(value)[:_LOOKED_AT] for value in there]
    count = len(there) or 1
    characters = "".join("".join(text.split()) for text in texts)
    num_distinct = len(set(written))
    return Column(
        name=name,
        rows=len(values),
        present=len(there) / (len(values) or 1),
        texts=len(texts) / count,
        nested=nested / count,
        mean_length=sum(map(len, written)) / count,
        distinct=num_distinct / count,
        num_distinct=num_distinct,
        letters=sum(map(str.isalpha, characters)) / (len(characters) or 1),
        prose=sum(map(_is_prose, texts)) / (len(texts) or 1),
    )


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _is_prose(text: str) -> bool:
    if _DATE.fullmatch(text.strip()):
        return False
    words = [any(map(str.isalpha, word)) for word in text.split()]
    if len(words) >= _PROSE_WORDS and sum(words) >= _PROSE_WORDS - 1:
        return True
    unspaced = sum(unicodedata.category(sign) == "Lo" for sign in text)  # letters of Chinese, Thai, Japanese, ...
    return unspaced >= 2 * _PROSE_WORDS
