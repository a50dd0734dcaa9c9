"""Whatever is killed, running it again finishes it, to the same bits and with nothing left over."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from kill_stages import FIRST
from kills import Stage, see_killed


@pytest.mark.parametrize("name", FIRST)
def test_a_killed_stage_ends_as_if_nothing_had_happened(stage: Callable[[str], Stage], name: str) -> None:
    see_killed(stage(name), random.Random(name))
