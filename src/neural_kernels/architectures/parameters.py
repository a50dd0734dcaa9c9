"""What the parameters of architecture families may be, as a config gives them."""

from __future__ import annotations

from typing import Any

from neural_kernels.errors import UserError
from neural_kernels.storage.strict_yaml import shown

MOST_LAYERS = 1000
MOST_TERMS = 20
LARGEST_FILTER = 999
SMALLEST, LARGEST = 1e-6, 1e6

# Integers, each with its smallest and largest value; others are from 0 to MOST_LAYERS.
_INTEGERS = {
    "depth": (1, MOST_LAYERS),
    "filter_size": (1, LARGEST_FILTER),
    "first_filter_size": (1, LARGEST_FILTER),
}
_POSITIVE = ("W_std", "last_W_std", "gamma")
_MAY_BE_ZERO = ("b_std",)


def checked(where: str, key: str, kind: str, value: Any) -> Any:
    """``value`` of the parameter ``key``, with integers for whole numbers like 3.0.

    Args:
        where: starts the sentence of an error: the architecture.
        kind: the annotation of the family's parameter: int, float, bool, str or list[int], or one of them and None; or
            list[dict[str, Any]], whose entries the family looks at.

    Raises:
        UserError: a value of another kind, or out of range.
    """
    at = f"{where}: {key}"
    optional = kind.endswith("| None")
    if optional and value is None:
        return None
    match kind.removesuffix("| None").strip():
        case "int":
            return _integer(at, key, value)
        case "float":
            return _number(at, key, value)
        case "bool" if not isinstance(value, bool):
            raise UserError(f"{at} is {shown(value)}, expected true or false")
        case "str" if not isinstance(value, str):
            raise UserError(f"{at} is {shown(value)}, expected a name")
        case "list[int]":
            return _layers_of_stages(at, value)
        case "list[dict[str, Any]]" if (
            not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_TERMS
        ):
            raise UserError(f"{at} is {shown(value)}, expected a list of 1 to {MOST_TERMS} architectures")
    return value


def _integer(at: str, key: str, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{at} is {shown(value)}, expected an integer")
    low, high = _INTEGERS.get(key, (0, MOST_LAYERS))
    if key.endswith("filter_size") and (value < 1 or value % 2 == 0):
        raise UserError(f"{at} is {shown(value)}, expected an odd positive number")
    if not low <= value <= high:
        raise UserError(f"{at} is {shown(value)}, expected an integer from {low} to {high}")
    return value


def _number(at: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{at} is {shown(value)}, expected a number")
    if key in _POSITIVE and not value > 0:
        raise UserError(f"{at} is {shown(value)}, expected a positive number")
    if key in _MAY_BE_ZERO and not value >= 0:
        raise UserError(f"{at} is {shown(value)}, expected zero or a positive number")
    smallest = SMALLEST if key in _POSITIVE + _MAY_BE_ZERO else 0
    if value != 0 and not smallest <= abs(value) <= LARGEST:
        lowest = smallest or -LARGEST
        raise UserError(f"{at} is {shown(value)}, expected a number from {lowest:g} to {LARGEST:g}")
    # Negative zero is zero, but another fingerprint.
    return value + 0


def _layers_of_stages(at: str, value: Any) -> list[int]:
    if not isinstance(value, list | tuple) or not value:
        raise UserError(f"{at} is {shown(value)}, expected a list of integers")
    counts = [_integer(f"{at}.{place}", "", count) for place, count in enumerate(value)]
    if not 1 <= sum(counts) <= MOST_LAYERS:
        raise UserError(f"{at} is {shown(value)}, expected 1 to {MOST_LAYERS} layers together")
    return counts
