"""What lies where a new corpus shall come from: its files by kind, what each kind is, its first rows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from langmill.config.sections import FormatSection
from langmill.data.detection import Detected, detect, pairs_of_files
from langmill.data.diagnosis.diagnose import diagnose, nothing_readable
from langmill.data.formats.base import FORMATS, Shape, build_format
from langmill.data.readers import first_rows
from langmill.data.rows import Values, portable
from langmill.data.sources.folder import OUTSIDE, kind_of, look_through
from langmill.errors import LangmillError

WHERE = "langmill new"
_LOOKED_AT = 20  # files of a kind
_SAMPLED_ROWS = 100  # of a file, by which its fields are judged
_WITHOUT_ROWS = "None of its rows can be read; look at its first lines."


@dataclass(frozen=True)
class Kind:
    """Files of one ending that are alike in everything that matters: encoding, delimiter, header, names of fields."""

    ending: str
    """In small letters, as in `.csv.gz`."""
    files: int
    size: int
    """Bytes."""
    looked_at: int
    """Files that were looked at; the others of their ending are taken to be like them."""
    detected: Detected
    """What the first of them is."""
    first: PurePosixPath
    plain: bool
    """Whether each file is one text."""
    document: bool
    """Whether each row is a document of its own, whose text no field of the corpus names."""
    rows: Sequence[Values]
    """First rows of the files that were looked at."""
    num_rows: int | None
    """Rows of all files; None where they were not counted."""
    estimated: bool
    """Whether `num_rows` is reckoned from the files that were looked at."""
    shape: Shape | None
    """What the format says of its rows, where they have a shape that a format is for."""

    @property
    def format_name(self) -> str:
        """The format that reads them."""
        return self.detected.format_name


@dataclass(frozen=True)
class Survey:
    """What a file or a folder holds."""

    path: Path | None
    """The folder, or that of the file; None for a sample of files that lie elsewhere."""
    kinds: list[Kind]
    left_out: Mapping[str, int]
    """How many files are not read, by the reason."""
    problems: Mapping[PurePosixPath, str]
    """What is wrong with files that can't be read, in sentences; of those that were looked at."""
    sampled: bool = field(default=False)
    """Whether some files were not looked at."""

    def named(self, relative: PurePosixPath) -> str:
        """A file's name for a sentence."""
        return portable(relative.as_posix() if self.path is None else (self.path / relative).as_posix())

    @property
    def files(self) -> int:
        """Files that are read."""
        return sum(kind.files for kind in self.kinds)

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(kind.size for kind in self.kinds)


def survey(path: Path, told: FormatSection | None = None, *, is_sample: bool = False) -> Survey:
    """Look at every kind of file below a path: at all files of a kind, or at some that lie evenly among many.

    Args:
        path: A file or a folder that is there.
        told: The format that reads the files; None goes by what they are.
        is_sample: Whether it is a copy of what lies elsewhere, whose path says nothing to people.

    Raises:
        LangmillError: No file can be read; the message says what is wrong with the first.
    """
    reads = build_format(told or FormatSection("auto", {}), WHERE)
    left_out: dict[str, int] = {}
    if path.is_file():
        root = path.parent
        one = PurePosixPath(path.name)
        sizes = {one: path.stat().st_size} if reads.ending(one) is not None else {}
    else:
        contents = look_through(path, reads)
        root, sizes, left_out = path, contents.sizes, contents.left_out
    if not sizes and told is None and (pair := _pairs(path)):
        return survey(path, pair, is_sample=is_sample)
    if not sizes:
        said = nothing_readable(path, reads.endings())
        if OUTSIDE in left_out:
            said += f" Links to files outside of it are not followed ({left_out[OUTSIDE]:,}); copy those files."
        raise LangmillError(f"{path} {said}", "unreadable")
    by_ending: dict[str, list[PurePosixPath]] = {}
    for relative in filter(reads.leads, sorted(sizes, key=PurePosixPath.as_posix)):
        by_ending.setdefault(kind_of(relative), []).append(relative)
    kinds: list[Kind] = []
    problems: dict[PurePosixPath, str] = {}
    for ending, files in sorted(by_ending.items()):
        kinds += _kinds(root, ending=ending, files=files, sizes=sizes, told=told, problems=problems)
    sampled = any(len(files) > _LOOKED_AT for files in by_ending.values())
    found = Survey(None if is_sample else root, kinds, left_out, problems, sampled)
    if not kinds:
        first = next(iter(problems))
        raise LangmillError(f"{found.named(first)}: {problems[first]}", "unreadable")
    return found


def _kinds(
    root: Path,
    *,
    ending: str,
    files: Sequence[PurePosixPath],
    sizes: Mapping[PurePosixPath, int],
    told: FormatSection | None,
    problems: dict[PurePosixPath, str],
) -> list[Kind]:
    """The kinds of files of one ending; what is wrong with those that can't be read goes into `problems`."""
    step = max(1, len(files) / _LOOKED_AT)
    chosen = list(files) if step == 1 else [files[int(number * step)] for number in range(_LOOKED_AT)]
    alike: dict[object, list[tuple[PurePosixPath, Detected, Sequence[Values]]]] = {}
    for relative in chosen:
        found, rows = _look_at(root / relative, relative, told)
        if found.problem is not None:
            problems[relative] = found.problem
        else:
            alike.setdefault(_likeness(found, rows), []).append((relative, found, rows))
    read = sum(map(len, alike.values()))
    kinds = []
    for group in alike.values():
        share = len(group) / read
        whole = len(chosen) == len(files)
        size = sum(sizes[relative] for relative, *_ in group)
        counts = [found.num_rows for _, found, _ in group]
        counted = None if None in counts else sum(count or 0 for count in counts)
        num_files = len(group) if whole else round(share * len(files))
        all_bytes = size if whole else round(share * sum(map(sizes.__getitem__, files)))
        relative, found, _ = group[0]
        name = found.format_name
        reads = build_format(told or FormatSection(name, _known_options(name, found.options)), WHERE)
        plain = reads.is_plain_text(relative)
        document = told is None and type(reads).makes_documents
        num_rows = num_files if plain else counted if whole or not counted else round(counted * all_bytes / (size or 1))
        kinds.append(
            Kind(
                ending, num_files, all_bytes, len(group), found, relative, plain, document,
                [row for *_, rows in group for row in rows], num_rows, not whole and not plain,
                type(reads).shape,
            )
        )  # fmt: skip
    return kinds


def _look_at(path: Path, relative: PurePosixPath, told: FormatSection | None) -> tuple[Detected, Sequence[Values]]:
    """What a file is, and its first rows as their format reads them."""
    if told is None:
        found = detect(path, relative)
        if found.problem is not None:
            return found, []
        shaped = FORMATS.find(found.format_name).shape is not None
        name = "auto" if shaped else found.format_name
        reader = build_format(FormatSection(name, _known_options(name, found.options)), WHERE)
    else:
        found, reader = Detected(told.name, told.options), build_format(told, WHERE)
    rows = first_rows(path, reader, _SAMPLED_ROWS)
    if not rows:
        return Detected(found.format_name, problem=diagnose(path) or _WITHOUT_ROWS), []
    return found, rows


def _known_options(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Those of the options that a format takes."""
    known = {each.name for each in dataclasses.fields(FORMATS.find(name).options_class)}
    return {key: value for key, value in options.items() if key in known}


def _pairs(path: Path) -> FormatSection | None:
    """The format of pairs of files that a folder holds; English is the source where it is one of the two languages."""
    pair = pairs_of_files(look_through(path, _Everything()).files) if path.is_dir() else None
    if pair is None:
        return None
    source, target = sorted(pair, key=lambda language: (not language.startswith("en"), language))
    return FormatSection("moses", {"source": source, "target": target})


class _Everything:
    """Reads any file."""

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Always but for a hidden one."""
        return not any(part.startswith(".") for part in path.parts)


def _likeness(found: Detected, rows: Sequence[Values]) -> object:
    """What files of one kind have in common; rows of JSON may lack a field here and there."""
    counts = Counter(name for row in rows for name in row)
    names = frozenset(name for name, count in counts.items() if 2 * count > len(rows))
    return found.format_name, found.encoding, found.delimiter, found.has_header, names
