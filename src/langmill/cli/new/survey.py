"""What lies where a new corpus shall come from: its files by kind, what each kind is, its first rows."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from langmill.cli.new.field_names import LANGUAGES
from langmill.config.sections import FormatSection, fits
from langmill.data.compression import COMPRESSIONS
from langmill.data.detection import Detected, detect, pairs_of_files
from langmill.data.diagnosis.diagnose import diagnose, nothing_readable
from langmill.data.formats.archive import Archive
from langmill.data.formats.base import FORMATS, Shape, build_format
from langmill.data.readers import first_rows, num_rows_in, read_values
from langmill.data.rows import Unreadable, Values, Whole, portable
from langmill.data.sources.folder import OUTSIDE, kind_of, look_through
from langmill.errors import LangmillError

WHERE = "langmill new"
IN_ARCHIVE = " in "
"""Parts the ending of an archive's members from its own: `.csv in .zip`."""
_LOOKED_AT = 20  # files of a kind
_SAMPLED_ROWS = 100  # of a file, by which its fields are judged
_COUNTED_ROWS = 1_000  # of a file in a format that was told; one of more is large enough not to be counted
_MEMBER_ROWS = 20_000  # of an archive, whose members are read one after the other
_WITHOUT_ROWS = "None of its rows can be read; look at its first lines."


@dataclass(frozen=True)
class Kind:
    """Files of one ending that are alike in everything that matters: encoding, delimiter, header, names of fields."""

    ending: str
    """In small letters, as in `.csv.gz`; of an archive's members with `IN_ARCHIVE`."""
    files: int
    size: int
    """Bytes."""
    looked_at: int
    """Files that were looked at; the others of their ending are taken to be like them."""
    detected: Detected
    """What the first of them is."""
    paths: Sequence[PurePosixPath]
    """Those that were looked at, below the folder; members of an archive have its path before their own."""
    patterns: tuple[str, ...]
    """The patterns that were told and fit them."""
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
    def first(self) -> PurePosixPath:
        """The first of those that were looked at."""
        return self.paths[0]

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
    files: int
    """Files that are read."""
    size: int
    """Their bytes."""
    left_out: Mapping[str, int]
    """How many files are not read, by the reason."""
    problems: Mapping[PurePosixPath, str]
    """What is wrong with files that can't be read, in sentences; of those that were looked at."""
    damages: Mapping[PurePosixPath, str] = field(default_factory=dict)
    """The same of files that can be read, but not to their end."""
    sampled: bool = field(default=False)
    """Whether some files were not looked at."""
    pair: FormatSection | None = None
    """What reads pairs of files that are among those left out."""

    def named(self, relative: PurePosixPath) -> str:
        """A file's name for a sentence."""
        return portable(relative.as_posix() if self.path is None else (self.path / relative).as_posix())

    def fields(self, pattern: str | None = None) -> list[str]:
        """The fields of the first rows, of all files or of those that a pattern fits."""
        kinds = [kind for kind in self.kinds if pattern is None or pattern in kind.patterns]
        return list(dict.fromkeys(name for kind in kinds for row in kind.rows for name in row))


@dataclass(frozen=True)
class _Piece:
    """One file that was looked at, or the members of an archive that are alike."""

    ending: str
    path: PurePosixPath
    found: Detected
    rows: Sequence[Values]
    plain: bool
    document: bool
    size: int
    files: int = 1


def survey(
    path: Path, told: FormatSection | None = None, *, patterns: Collection[str] = (), is_sample: bool = False
) -> Survey:
    """Look at every kind of file below a path: at all files of a kind, or at some that lie evenly among many.

    Args:
        path: A file or a folder that is there.
        told: The format that reads the files; None goes by what they are.
        patterns: Patterns of paths that tell files apart which are alike.
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
    pair = pair_in(path, any_ending=not sizes) if told is None else None
    if not sizes and pair is not None:
        return survey(path, pair, patterns=patterns, is_sample=is_sample)
    if not sizes:
        said = nothing_readable(path, reads.endings())
        if OUTSIDE in left_out:
            said += f" Links to files outside of it are not followed ({left_out[OUTSIDE]:,}); copy those files."
        raise LangmillError(f"{path} {said}", "unreadable")
    by_ending: dict[str, list[PurePosixPath]] = {}
    for relative in filter(reads.leads, sorted(sizes, key=PurePosixPath.as_posix)):
        by_ending.setdefault(kind_of(relative), []).append(relative)
    kinds: list[Kind] = []
    problems, damages = dict[PurePosixPath, str](), dict[PurePosixPath, str]()
    for _, files in sorted(by_ending.items()):
        step = max(1, len(files) / _LOOKED_AT)
        chosen = files if step == 1 else [files[int(number * step)] for number in range(_LOOKED_AT)]
        pieces = [piece for relative in chosen for piece in _look_at(root, relative, told, problems, damages)]
        all_bytes = sum(map(sizes.__getitem__, files))
        kinds += _kinds(pieces, len(files) / len(chosen), all_bytes, told, patterns)
    sampled = any(len(files) > _LOOKED_AT for files in by_ending.values())
    read = [size for relative, size in sizes.items() if relative not in problems]
    found = Survey(None if is_sample else root, kinds, len(read), sum(read), left_out, problems, damages, sampled, pair)
    if not kinds:
        first = next(iter(problems))
        raise LangmillError(f"{found.named(first)}: {problems[first]}", "unreadable")
    return found


def _kinds(
    pieces: Sequence[_Piece],
    times: float,
    all_bytes: int,
    told: FormatSection | None,
    patterns: Collection[str],
) -> list[Kind]:
    """The kinds of files of one ending, of which some were looked at.

    Args:
        pieces: Those that can be read.
        times: Files of the ending to those that were chosen.
        all_bytes: The bytes of all files.
        told: The format that reads them.
        patterns: Patterns of paths that tell files apart.
    """
    alike: dict[tuple[str, tuple[str, ...], object], list[_Piece]] = {}
    for piece in pieces:
        fitting = tuple(each for each in patterns if fits(each, portable(piece.path.as_posix())))
        alike.setdefault((piece.ending, fitting, _likeness(piece)), []).append(piece)
    kinds = []
    for (ending, fitting, _), group in alike.items():
        share = len(group) / len(pieces)
        size = sum(piece.size for piece in group)
        counts = [piece.found.num_rows for piece in group]
        counted = None if None in counts else sum(count or 0 for count in counts)
        whole = times == 1
        num_files = round(times * sum(piece.files for piece in group))
        num_bytes = size if whole else round(share * all_bytes)
        plain = group[0].plain
        num_rows = num_files if plain else counted if whole or not counted else round(counted * num_bytes / (size or 1))
        kinds.append(
            Kind(
                ending, num_files, num_bytes, len(group), group[0].found, [piece.path for piece in group], fitting,
                plain, group[0].document and told is None, [row for piece in group for row in piece.rows], num_rows,
                not whole and not plain, FORMATS.find(group[0].found.format_name).shape,
            )
        )  # fmt: skip
    return kinds


def _look_at(
    root: Path,
    relative: PurePosixPath,
    told: FormatSection | None,
    problems: dict[PurePosixPath, str],
    damages: dict[PurePosixPath, str],
) -> list[_Piece]:
    """What a file is, and its first rows as their format reads them; what is wrong with it goes into the last two."""
    path = root / relative
    if told is None:
        found = detect(path, relative)
        if found.problem is not None:
            problems[relative] = found.problem
            return []
        shaped = FORMATS.find(found.format_name).shape is not None
        name = "auto" if shaped else found.format_name
        reader = build_format(FormatSection(name, _known_options(name, found.options)), WHERE)
    else:
        found, reader = Detected(told.name, told.options), build_format(told, WHERE)
    if isinstance(reader, Archive):
        pieces = _members(root, relative, reader, found)
    else:
        rows = first_rows(path, reader, _SAMPLED_ROWS)
        if told is not None:
            found = dataclasses.replace(found, num_rows=num_rows_in(path, reader, _COUNTED_ROWS))
        plain = reader.is_plain_text(relative)
        size = path.stat().st_size
        pieces = [_Piece(kind_of(relative), relative, found, rows, plain, type(reader).makes_documents, size)]
    if not any(piece.rows for piece in pieces):
        problems[relative] = diagnose(path) or _WITHOUT_ROWS
        return []
    if found.damage is not None:
        damages[relative] = found.damage
    return pieces


def _members(root: Path, relative: PurePosixPath, reader: Archive, found: Detected) -> list[_Piece]:
    """The members of an archive, those of one ending and the same fields together."""
    rows: dict[str, list[Values]] = {}
    counts: Counter[str] = Counter()
    whole = True
    for count, (place, values) in enumerate(read_values(root, root / relative, reader)):
        if count == _MEMBER_ROWS:
            whole = False
            break
        if not isinstance(values, Unreadable):
            name = str(place).rpartition(":")[0]
            counts[name] += 1
            if len(rows.setdefault(name, [])) < _SAMPLED_ROWS:
                rows[name].append(values)
    size = (root / relative).stat().st_size
    return [
        _Piece(
            f"{kind_of(PurePosixPath(name))}{IN_ARCHIVE}{kind_of(relative)}",
            relative / name,
            dataclasses.replace(found, num_rows=counts[name] if whole else None),
            those,
            isinstance(those[0], Whole) and those[0].plain,
            isinstance(those[0], Whole),
            size * counts[name] // counts.total(),
        )
        for name, those in rows.items()
    ]


def _known_options(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Those of the options that a format takes."""
    known = {each.name for each in dataclasses.fields(FORMATS.find(name).options_class)}
    return {key: value for key, value in options.items() if key in known}


def pair_in(path: Path, *, any_ending: bool = True) -> FormatSection | None:
    """The format of pairs of files that a folder holds; English is the source where it is one of the two languages.

    Only files that `auto` does not read are looked at: `a.csv` beside `a.txt` is no pair. Nor is `a.png` beside `a.jpg`
    where there is more than pairs: without `any_ending` the endings must be those of languages that are known.
    """
    pair = pairs_of_files(look_through(path, _Others(any_ending)).files) if path.is_dir() else None
    if pair is None:
        return None
    source, target = sorted(pair, key=lambda language: (not language.startswith("en"), language))
    return FormatSection("moses", {"source": source, "target": target})


class _Others:
    """Reads the files that `auto` does not."""

    def __init__(self, any_ending: bool) -> None:
        self._auto = build_format(FormatSection("auto", {}), WHERE)
        self._any_ending = any_ending

    def reads(self, path: PurePosixPath | Path) -> bool:
        """Whether it is not hidden, and none of auto's endings."""
        if any(part.startswith(".") for part in path.parts) or self._auto.ending(path) is not None:
            return False
        endings = [part.lower() for part in path.name.split(".")[1:] if f".{part.lower()}" not in COMPRESSIONS]
        return self._any_ending or (bool(endings) and re.split("[-_]", endings[-1])[0] in LANGUAGES)


def _likeness(piece: _Piece) -> object:
    """What files of one kind have in common; rows of JSON may lack a field here and there."""
    counts = Counter(name for row in piece.rows for name in row)
    names = frozenset(name for name, count in counts.items() if 2 * count > len(piece.rows))
    found = piece.found
    return found.format_name, found.encoding, found.delimiter, found.has_header, names
