"""What the options of the command line may be: one sentence for each that may not."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from neural_kernels import names
from neural_kernels.storage.strict_yaml import shown

MOST_EXAMPLES = 10**9
MOST_THREADS = 10_000
MOST_OUTPUTS = 10**6
MOST_SAMPLES = 10**6
LARGEST_SEED = 2**32 - 1
LARGEST_SHAPE = 10**7
"""Numbers of an example that is made up."""
LONGEST_SENTENCE = 2000


class OneSentenceParser(argparse.ArgumentParser):
    """Says what is wrong with a command as the stages do, and leaves the usage to --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message)} (see {self.prog} --help)\n")


def one_line(message: object) -> str:
    """A message without what would break its line, and not longer than a person reads."""
    text = str(message).replace("\n", " ")
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)
    return text if len(text) <= LONGEST_SENTENCE else text[:LONGEST_SENTENCE] + "..."


# ------------------------------------------------------------------------------- types for argparse


def path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return Path(text)


def name(text: str) -> str:
    """Of a kernel, part or preprocessing: it becomes part of a path."""
    if not names.is_name(text):
        raise argparse.ArgumentTypeError(f"{shown(text)} cannot be a name, expected {names.EXPECTED}")
    return text


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{shown(text)}, expected a whole number from {low} to {high}")
        return int(text)

    return parse


count = whole(0, MOST_EXAMPLES)
positive = whole(1, MOST_EXAMPLES)


def place(text: str) -> str:
    if text != "baseline" and not re.fullmatch("0|[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is neither a number from 0 nor baseline")
    return text


def shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch("[1-9][0-9]{0,8}(x[1-9][0-9]{0,8}){0,3}", text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a shape, expected sizes as in 32x32x3")
    sizes = tuple(map(int, text.split("x")))
    if math.prod(sizes) > LARGEST_SHAPE:
        raise argparse.ArgumentTypeError(
            f"{shown(text)} has {math.prod(sizes):.0e} numbers an example, expected at most {LARGEST_SHAPE:.0e}"
        )
    return sizes


def rate_of_kernel(text: str) -> tuple[str | None, float]:
    """Kernel and pairs per second of ``KERNEL=number``; a number alone is for None, all kernels."""
    kernel, _, rate = text.rpartition("=")
    try:
        return kernel or None, positive_number(rate)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is not a rate, expected a positive number or KERNEL=number"
        ) from None


def positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1e15:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a positive number of at most 1e15")
    return value


def block(text: str) -> tuple[int, int]:
    if not re.fullmatch("[0-9]{1,9}-[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a block, expected row-column, as 3-7")
    first, second = text.split("-")
    return int(first), int(second)
