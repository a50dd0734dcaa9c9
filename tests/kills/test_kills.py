"""Whatever is killed, running it again finishes it, to the same bits and with nothing left over."""

import random

import pytest
from kill_stages import CHAIN

FIRST = [name for name, _ in CHAIN[:12]]
MOST, TIMES = 16, 3


@pytest.mark.parametrize("name", FIRST)
def test_a_killed_stage_ends_as_if_nothing_had_happened(stage, name):
    rng = random.Random(name)
    see_killed(stage(name), rng)


def see_killed(killed, rng):
    """Kill a stage before many of its file operations, and at some moments, and see what comes of it."""
    killed.run_undisturbed()
    killed.kill_at_every_operation(rng, most=MOST)
    killed.kill_at_random_times(rng, times=TIMES)
    print(f"{killed.arguments[0]}: {killed.operations} operations, {dict(killed.kills)}")
    assert killed.kills["operation"] >= min(killed.operations, MOST)
