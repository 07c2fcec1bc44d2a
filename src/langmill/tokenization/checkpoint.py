"""The tokenizer of a pretrained model, as the one file that Langmill reads."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from langmill.errors import Code, TokenizerError
from langmill.tokenization.tokenizer import FILE_NAME, Tokenizer

_VOCABULARIES = {"vocab.txt", "vocab.json"}


def checkpoint_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer of a checkpoint; a missing `tokenizer.json` is made of its older files.

    Args:
        folder: The checkpoint's files; a `tokenizer.json` that is made is added there.

    Raises:
        TokenizerError: There is no tokenizer, or it can't be read or converted.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        from transformers import AutoTokenizer

        if not any(path.name in _VOCABULARIES or path.suffix == ".model" for path in folder.iterdir()):
            # transformers would make an empty one.
            raise TokenizerError(f"The pretrained model has no {FILE_NAME}, nor a vocabulary for one.", "missing")
        try:
            made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            made.backend_tokenizer.save(str(file))
        except Exception as error:  # transformers raises the errors of many tokenizers
            raise TokenizerError(
                f"The pretrained model has no {FILE_NAME}, and none can be made of its files: {error}", "failed"
            ) from error
    try:
        return Tokenizer.load(file)
    except TokenizerError as error:
        # Where the files lie while they are brought says nothing to anybody, nor what one does about a file of ours.
        said = str(error).replace(f"{folder}/", "").partition("; ")[0].rstrip(".")
        raise TokenizerError(
            f"The pretrained model's tokenizer can't be used ({said}); check its source.", cast("Code", error.code)
        ) from error
