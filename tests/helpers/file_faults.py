"""A process that is killed at one of its file operations, played in the process of the test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest


class Killed(BaseException):
    """What the process would not live to see."""


def killed_after(survived: int, operations: Iterable[tuple[Any, str]], patch: pytest.MonkeyPatch) -> None:
    """From number ``survived`` on, none of the ``operations`` (an owner and a name each) is carried out any more."""
    done = itertools.count()

    def dying(operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(done) >= survived:
                raise Killed
            return operation(*arguments, **options)

        return wrapped

    for owner, name in operations:
        patch.setattr(owner, name, dying(getattr(owner, name)))
