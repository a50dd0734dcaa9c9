"""As ``test_kills``, of the stages from the solve on: a file of its own, so that two processes share the work."""

import random

import pytest
from kill_stages import CHAIN
from test_kills import FIRST, see_killed

LATER = [name for name, _ in CHAIN if name not in FIRST]


@pytest.mark.parametrize("name", LATER)
def test_a_killed_stage_ends_as_if_nothing_had_happened(stage, name):
    see_killed(stage(name), random.Random(name))
