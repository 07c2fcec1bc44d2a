"""Tables with tabs between cells and quotation marks around some (.tsv), as pandas and spreadsheets write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from langmill.data.formats.base import FORMATS, Format
from langmill.data.formats.tables import TableOptions, read_table
from langmill.data.rows import Raw


@FORMATS.register("quoted_tsv")
class QuotedTsv(Format):
    """Rows as `auto` has them of a .csv file, whose rules on quotation marks these files follow."""

    options_class = TableOptions
    file_endings = frozenset({".tsv"})
    text = True
    options: TableOptions

    def read(self, file: IO[bytes], path: PurePosixPath) -> Iterator[Raw]:
        """The rows of one file, placed by their first line."""
        del path
        return read_table(file, "\t", self.options, quoted=True)
