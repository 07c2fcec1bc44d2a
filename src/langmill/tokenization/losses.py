"""What a tokenizer loses of a text: what decoding its tokens can't give back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CASE, ACCENTS, FORMS = "case", "accents", "compatibility forms"
SPACE, UNKNOWN = "white space", "unknown characters"
_BY_NORMALIZER = {
    "Lowercase": CASE,
    "NFKC": FORMS,
    "NFKD": FORMS,
    "Nmt": FORMS,
    "Precompiled": FORMS,
    "Strip": SPACE,
    "StripAccents": ACCENTS,
}
_WITHOUT_SPACE = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}


def losses(state: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a text is lost, in words; empty where every text comes back (but for Unicode's canonical equivalence).

    Args:
        state: The content of a `tokenizer.json`.
    """
    found: dict[str, None] = {}
    for step in _steps(state.get("normalizer"), "normalizers"):
        if step["type"] == "BertNormalizer":
            found |= dict.fromkeys([CASE, ACCENTS] if step.get("lowercase") else [])
        elif step["type"] in _BY_NORMALIZER:
            found[_BY_NORMALIZER[step["type"]]] = None
    if any(step["type"] in _WITHOUT_SPACE for step in _steps(state.get("pre_tokenizer"), "pretokenizers")):
        found[SPACE] = None
    model = state.get("model") or {}
    unknown = model.get("unk_token") is not None or model.get("unk_id") is not None
    if unknown and not model.get("byte_fallback"):
        found[UNKNOWN] = None
    return tuple(found)


def _steps(step: Mapping[str, Any] | None, parts: str) -> Iterator[Mapping[str, Any]]:
    """A step of a tokenizer, or those that it is made of."""
    if step is None:
        return
    if step["type"] == "Sequence":
        for each in step[parts]:
            yield from _steps(each, parts)
    else:
        yield step
