"""The tokenizer that a pretrained model brings, as the one file that Langmill reads."""

from __future__ import annotations

from pathlib import Path

from langmill.errors import TokenizerError
from langmill.tokenization.tokenizer import FILE_NAME, Tokenizer

_VOCABULARIES = {"vocab.txt", "vocab.json"}


def checkpoint_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint; where it has no `tokenizer.json`, one is made of its older files.

    Args:
        folder: The checkpoint's files; the `tokenizer.json` is added there.

    Raises:
        TokenizerError: There is none, or it can't be read or turned into one file.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        from transformers import AutoTokenizer

        if not any(path.name in _VOCABULARIES or path.suffix == ".model" for path in folder.iterdir()):
            # transformers would make one that knows no word.
            raise TokenizerError(f"The pretrained model has no {FILE_NAME}, nor a vocabulary to make one of.")
        try:
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            made.backend_tokenizer.save(str(file))
        except Exception as error:  # transformers raises what the many tokenizers raise
            raise TokenizerError(
                f"The pretrained model has no {FILE_NAME}, and none can be made of its files: {error}"
            ) from error
    return Tokenizer.load(file)
