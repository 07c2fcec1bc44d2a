"""The patterns that split a text into words, across which merges never go.

`langmill` is GPT-2's (Radford et al., 2019), with combining marks as parts of words, at most two digits, and no
look-ahead, which keeps it a finite automaton: equal in both engines, and linear in a text's length. The others are
those of well-known models, word for word, since llama.cpp knows such patterns by name and no others. They look ahead,
so Hugging Face's library encodes with them (docs/decisions/0101).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langmill.config.sections import TokenizerPattern

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
REGEXES: Mapping[TokenizerPattern, str] = {
    TokenizerPattern.langmill: (
        "['\u2019](?:[sdmtSDMT]|ll|ve|re|LL|VE|RE)"  # contractions
        r"| ?[\p{L}\p{M}]+"  # a word and the space before it
        r"| ?\p{N}{1,2}"  # at most two digits, so that numbers do not fill the vocabulary
        r"| ?[^\s\p{L}\p{M}\p{N}]+"  # punctuation
        r"|\s*[\r\n]+"  # line ends and the white space before them
        r"|\s+"
    ),
    TokenizerPattern.gpt2: r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    TokenizerPattern.llama3: _LLAMA3,
    TokenizerPattern.qwen2: _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),
}
"""Each pattern's regular expression; a text is the sequence of its matches."""


def pre_tokenizer_state(pattern: TokenizerPattern) -> dict[str, Any]:
    """Make the entry of `tokenizer.json` for "split by this pattern, then map bytes to characters"."""
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    if pattern is TokenizerPattern.gpt2:  # the step itself splits so
        return {**to_bytes, "use_regex": True}
    split = {"type": "Split", "pattern": {"Regex": REGEXES[pattern]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, to_bytes]}


def pattern_of(state: Mapping[str, Any]) -> TokenizerPattern | None:
    """The pattern that a `tokenizer.json` splits texts by; None where it is none of these."""
    found = _without_offsets(state.get("pre_tokenizer") or {})
    return next((each for each in TokenizerPattern if _without_offsets(pre_tokenizer_state(each)) == found), None)


def _without_offsets(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step of a pre-tokenizer without what has no influence on the tokens; an option that is left out is true."""
    found = {name: value for name, value in step.items() if name not in ("pretokenizers", "trim_offsets")}
    if step.get("type") == "ByteLevel":
        found.setdefault("use_regex", True)
    if "pretokenizers" in step:
        found["pretokenizers"] = [_without_offsets(each) for each in step["pretokenizers"]]
    return found
