"""As ``test_kills``, of the stages from the solve on: a file of its own, so that two processes share the work."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from kill_stages import LATER
from kills import Stage, see_killed


@pytest.mark.parametrize("name", LATER)
def test_a_killed_stage_ends_as_if_nothing_had_happened(stage: Callable[[str], Stage], name: str) -> None:
    see_killed(stage(name), random.Random(name))
