"""What fields are called that hold a text, a label, a target or an id, in the files that people have."""

from __future__ import annotations

import re

TEXT = {
    "text": 1.0, "content": 0.95, "contents": 0.95, "body": 0.95, "document": 0.9, "review": 0.9, "sentence": 0.9,
    "passage": 0.9, "article": 0.9, "paragraph": 0.9, "message": 0.9, "description": 0.85, "abstract": 0.85,
    "comment": 0.85, "post": 0.85, "story": 0.85, "transcript": 0.85, "lyrics": 0.85, "poem": 0.85, "tweet": 0.85,
    "utterance": 0.85, "letter": 0.85, "mail": 0.8, "email": 0.5, "code": 0.7, "question": 0.7, "prompt": 0.7,
    "texte": 0.9, "texto": 0.9, "testo": 0.9, "inhalt": 0.85, "beschreibung": 0.85, "nachricht": 0.85,
    "snippet": 0.6, "summary": 0.5, "title": 0.3, "headline": 0.35, "subject": 0.3, "caption": 0.6,
}  # fmt: skip
"""How well a name fits a field of texts, from 0 to 1."""
NO_TEXT = frozenset({
    "id", "uuid", "guid", "key", "url", "uri", "link", "path", "file", "filename", "date", "time", "datetime",
    "timestamp", "created", "updated", "author", "user", "username", "hash", "sha", "md5", "checksum", "lang",
    "language", "locale", "source", "licence", "license", "version", "status", "depends", "dependencies",
    "requires", "keywords", "tags", "categories", "rejected", "system", "history",
})  # fmt: skip
"""Names of what stands beside a text."""
LABEL = {
    "label": 1.0, "labels": 0.95, "class": 0.9, "category": 0.9, "sentiment": 0.9, "intent": 0.9, "topic": 0.85,
    "emotion": 0.85, "polarity": 0.85, "stars": 0.85, "rating": 0.85, "grade": 0.75, "genre": 0.75, "tag": 0.7,
    "spam": 0.85, "toxic": 0.85, "toxicity": 0.85, "verdict": 0.75, "kategorie": 0.9, "klasse": 0.9, "y": 0.7,
    "target": 0.7, "score": 0.6, "type": 0.6,
}  # fmt: skip
ID = {
    "id": 1.0,
    "uid": 1.0,
    "uuid": 1.0,
    "guid": 1.0,
    "key": 0.8,
    "identifier": 0.9,
    "doi": 0.8,
    "isbn": 0.8,
    "url": 0.6,
}
PAIRS = {
    ("prompt", "completion"): "completion", ("prompt", "response"): "completion", ("prompt", "output"): "completion",
    ("prompt", "answer"): "completion", ("question", "answer"): "completion", ("question", "response"): "completion",
    ("query", "response"): "completion", ("query", "answer"): "completion", ("instruction", "response"): "completion",
    ("input", "output"): "completion", ("input", "target"): "completion", ("inputs", "targets"): "completion",
    ("text", "target"): "completion", ("source", "target"): "text_to_text", ("src", "tgt"): "text_to_text",
    ("src", "trg"): "text_to_text", ("text", "translation"): "text_to_text",
    ("original", "translation"): "text_to_text",
    ("article", "highlights"): "completion", ("article", "summary"): "completion",
    ("document", "summary"): "completion", ("dialogue", "summary"): "completion", ("text", "summary"): "completion",
    ("code", "docstring"): "completion", ("code", "summary"): "completion", ("docstring", "code"): "completion",
}  # fmt: skip
"""A text and what is to be written for it, by their names; and the task that such rows are mostly for."""
LANGUAGES = frozenset({
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "eo", "es",
    "et", "eu", "fa", "fi", "fil", "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "ig", "is", "it",
    "ja", "jv", "ka", "kk", "km", "kn", "ko", "ku", "ky", "la", "lb", "lo", "lt", "lv", "mg", "mi", "mk", "ml",
    "mn", "mr", "ms", "mt", "my", "nb", "ne", "nl", "nn", "no", "ny", "oc", "or", "pa", "pl", "ps", "pt", "qu",
    "rm", "ro", "ru", "rw", "sa", "sd", "si", "sk", "sl", "sm", "sn", "so", "sq", "sr", "st", "su", "sv", "sw",
    "ta", "te", "tg", "th", "ti", "tk", "tl", "tr", "tt", "ug", "uk", "ur", "uz", "vi", "wo", "xh", "yi", "yo",
    "zh", "zu", "deu", "ger", "eng", "fra", "fre", "spa", "ita", "por", "rus", "zho", "jpn", "kor", "ara",
    "hin", "nld", "swe", "dan", "nor", "fin", "pol", "ces", "ell", "tur", "ukr", "english", "german", "french",
    "spanish", "italian", "portuguese", "russian", "chinese", "japanese", "korean", "arabic", "hindi", "dutch",
    "swedish", "danish", "norwegian", "finnish", "polish", "czech", "greek", "turkish", "ukrainian",
})  # fmt: skip
"""Codes of ISO 639-1, the commonest of 639-3, and English names of languages."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+|[^\W_]+")


def words_of(name: str) -> tuple[str, ...]:
    """The words of a field's name in small letters: `reviewText` and `review_text` are review, text."""
    return tuple(word.casefold() for word in _WORD.findall(name))


def fit(name: str, known: dict[str, float]) -> float:
    """How well a field's name fits names that are known, from 0 to 1: as a whole, by its last word, by any."""
    words = words_of(name)
    whole = known.get("".join(words), known.get(name.casefold(), 0.0))
    last = 0.9 * known.get(words[-1], 0.0) if words else 0.0
    return max([whole, last, *(0.7 * known.get(word, 0.0) for word in words)])


def language_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The language that a field's name says, and the other words of the name; None where it says none, or two."""
    words = words_of(name)
    found = [word for word in words if word in LANGUAGES]
    if len(found) != 1:
        return None
    return found[0], tuple(word for word in words if word != found[0])
