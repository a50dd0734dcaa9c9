"""What may be the name of a study, kernel, preprocessing or test set: names become paths and words of a shell."""

from __future__ import annotations

import re

from neural_kernels.errors import UserError

PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Of a whole name: safe in a path and in a shell, and short enough for the files that are called after it."""

EXPECTED = "at most 100 letters, digits, '.', '_' and '-', first a letter or digit"

# Files of a test set lie beside those of the training and validation sets, which they may not be taken for.
TEST_SET_PATTERN = "(?!(?:train|validation)$)(?!.*_(?:targets|labels)$)[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
TEST_SET_EXPECTED = (
    "at most 100 letters, digits, '_' and '-', first a letter or digit; not train or validation, and not ending in "
    "_targets or _labels"
)


def is_name(text: str) -> bool:
    return re.fullmatch(PATTERN, text) is not None


def is_test_set_name(text: str) -> bool:
    return re.fullmatch(TEST_SET_PATTERN, text) is not None


def check_name(where: str, text: str) -> None:
    """Raise UserError where ``text`` cannot be a name; ``where`` starts the sentence."""
    if not is_name(text):
        raise UserError(f"{where}: {text!r} cannot be a name, expected {EXPECTED}")
