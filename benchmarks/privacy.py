"""How well personal data and secrets are found, and how fast, beside two peers.

    python benchmarks/privacy.py
    python benchmarks/privacy.py --count 2000 --seed 1 --speed build/raw/reviews

The texts are those of `tests/unit/data/privacy/`: made from a seed, in the formats that we know of, so that ours are
favoured. Presidio has its own recognisers of numbers and a model for nothing (a blank
one), datatrove its step for e-mail and IP addresses. Presidio has no recogniser of some kinds: a dash.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import random
import re
import string
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from langmill.config.compose import compose_corpus
from langmill.data.cleaning.detectors.base import Finder, Found, build_finder
from langmill.data.formats.base import build_format
from langmill.data.readers import read_rows
from langmill.data.rows import Row
from tests.unit.data.privacy.identities import REGIONS
from tests.unit.data.privacy.measure import Quality, measured
from tests.unit.data.privacy.personal_data import MAKERS

PRESIDIO = {
    "EMAIL_ADDRESS": "email", "IP_ADDRESS": "ip", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban",
    "US_SSN": "us_ssn", "UK_NHS": "uk_nhs", "UK_NINO": "uk_nino", "ES_NIF": "es_dni", "ES_NIE": "es_dni",
    "IT_FISCAL_CODE": "it_codice_fiscale", "IN_AADHAAR": "in_aadhaar", "DE_TAX_ID": "de_tax_id",
}  # fmt: skip
"""Presidio's entities, and our kinds."""


class Peer:
    """Another program that finds."""

    def __init__(self, kinds: Iterable[str], find: Callable[[str], list[Found]]) -> None:
        self.kinds = list(kinds)
        self.find = find


def presidio() -> Peer:
    """Presidio's analyzer with every recogniser of a number or a pattern that it has for these countries."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer import predefined_recognizers as known
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    logging.getLogger("tldextract").setLevel(logging.CRITICAL)  # it looks for a newer list of domains on the network
    engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    engine.nlp = {"en": spacy.blank("en")}  # type: ignore[assignment]
    registry = RecognizerRegistry(supported_languages=["en"])
    names = ["EmailRecognizer", "IpRecognizer", "CreditCardRecognizer", "IbanRecognizer", "UsSsnRecognizer"]
    names += ["NhsRecognizer", "UkNinoRecognizer", "EsNifRecognizer", "EsNieRecognizer", "ItFiscalCodeRecognizer"]
    names += ["InAadhaarRecognizer", "DeTaxIdRecognizer"]
    for name in names:
        if (recognizer := getattr(known, name, None)) is not None:
            registry.add_recognizer(recognizer(supported_language="en"))
    registry.add_recognizer(known.PhoneRecognizer(supported_language="en", supported_regions=REGIONS))
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    entities = [one for one in registry.get_supported_entities() if one in PRESIDIO]

    def find(text: str) -> list[Found]:
        results = analyzer.analyze(text, "en", entities=entities, score_threshold=0.4)
        return [Found(one.start, one.end, PRESIDIO[one.entity_type]) for one in results]

    return Peer(dict.fromkeys(PRESIDIO[one] for one in entities), find)


def datatrove() -> Peer:
    """The two patterns of datatrove's PIIFormatter, with its check of addresses."""
    from datatrove.pipeline.formatters import PIIFormatter  # type: ignore[import-untyped]

    formatter = PIIFormatter()
    replacers = {"email": formatter.emails_replacer, "ip": formatter.ip_replacer}

    def find(text: str) -> list[Found]:
        found = []
        for kind, replacer in replacers.items():
            for match in replacer.regex.finditer(text):
                if replacer.validator is None or replacer.validator(match.group(0)):
                    found.append(Found(match.start(), match.end(), kind))
        return found

    return Peer(replacers, find)


def table(columns: dict[str, dict[str, Quality]]) -> str:
    """Recall and precision of each kind, a column a program."""
    rows = [f"| kind | {' | '.join(f'{name}: recall | precision' for name in columns)} |"]
    rows.append("|---|" + "---:|---:|" * len(columns))
    for kind in MAKERS:
        cells = []
        for quality in columns.values():
            one = quality.get(kind)
            cells += ["-", "-"] if one is None else [f"{one.recall:.3f}", f"{one.precision:.3f}"]
        rows.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(rows)


def speed(finders: dict[str, Any], raw: Path, megabytes: float) -> None:
    """Megabytes of UTF-8 per second of processor time, on the first documents of a corpus."""
    corpus = compose_corpus(raw.name)
    rows = read_rows(raw, build_format(corpus.format, raw.name), corpus.fields)
    texts: list[str] = []
    size = 0
    for row in islice((row for row in rows if isinstance(row, Row)), 10**6):
        texts.append(row.text)
        size += len(row.text.encode())
        if size > megabytes * 1e6:
            break
    for name, finder in finders.items():
        share = texts if name == "ours" else texts[: max(1, len(texts) // 20)]  # peers take a twentieth of them
        started = time.process_time()
        found = sum(len(finder.find(text)) for text in share)
        taken = time.process_time() - started
        done = sum(len(text.encode()) for text in share) / 1e6
        print(f"{name}: {done / taken:.2f} MB/s over {done:.1f} MB of {raw.name}, {found} values")


RANDOM: dict[str, tuple[str, str, str]] = {
    "de_tax_id": ("stdnum.de.idnr", "#" * 11, "{}"),
    "es_dni": ("stdnum.es.dni", "#" * 8 + "@", "{}"),
    "fr_nir": ("stdnum.fr.nir", "1##0" + "#" * 11, "{}"),
    "nl_bsn": ("stdnum.nl.bsn", "#" * 9, "bsn {}"),
    "uk_nhs": ("stdnum.gb.nhs", "#" * 10, "nhs {}"),
    "br_cpf": ("stdnum.br.cpf", "#" * 11, "cpf {}"),
    "in_aadhaar": ("stdnum.in_.aadhaar", "#" * 12, "aadhaar {}"),
    "us_ssn": ("stdnum.us.ssn", "###-##-####", "{}"),
    "iban": ("stdnum.iban", "DE" + "#" * 20, "{}"),
}
"""Kinds, the modules of python-stdnum that check them, a number's form, and a text that names it."""


def verdicts(count: int, seed: int) -> Iterable[str]:
    """Compare the check digits of random numbers with the package python-stdnum's."""
    rng = random.Random(seed)
    for kind, (module, form, text) in RANDOM.items():
        finder, theirs = build_finder([kind]), importlib.import_module(module)
        right, differing = 0, []
        for _ in range(count):
            number = re.sub("[#@]", lambda sign: rng.choice(string.digits if sign[0] == "#" else LETTERS), form)
            ours = bool(finder.find(text.format(number)))
            right += ours
            if ours != theirs.is_valid(number):
                differing.append(number)
        yield f"{kind}: {count:,} numbers, {right:,} valid, {len(differing)} judged otherwise {differing[:5]}"


LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def main() -> None:
    """Print the table, and the speeds if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="texts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=Path, help="raw files of a corpus, as in build/raw/reviews")
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--stdnum", action="store_true", help="compare check digits alone; needs python-stdnum")
    parser.add_argument("--errors", action="store_true", help="print what was missed and what was wrong")
    given = parser.parse_args()
    if given.stdnum:
        print(*verdicts(20 * given.count, given.seed), sep="\n")
        return
    finders: dict[str, Finder | Peer] = {"ours": build_finder(None, {"phone": {"regions": REGIONS}})}
    if not given.alone:
        finders |= {"Presidio": presidio(), "datatrove": datatrove()}
    columns = {}
    for name, finder in finders.items():
        columns[name] = measured(finder, positives=given.count, negatives=12 * given.count, seed=given.seed)
    print(table(columns))
    if given.errors:
        for kind, quality in columns["ours"].items():
            for title, texts in (("missed", quality.missed), ("wrong", quality.wrong)):
                print(*(f"{kind} {title}: {text!r}" for text in texts[:5]), sep="\n")
    if given.speed is not None:
        speed(finders, given.speed, given.megabytes)


if __name__ == "__main__":
    main()
