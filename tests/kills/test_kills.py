"""Whatever is killed, running it again finishes it, to the same bits and with nothing left over."""

import random

import pytest
from kill_stages import CHAIN

NAMES = [name for name, _ in CHAIN]


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_stage_ends_as_if_nothing_had_happened(stage, name):
    rng = random.Random(name)
    killed = stage(name)
    killed.run_undisturbed()
    killed.kill_at_every_operation(rng, most=24)
    killed.kill_at_random_times(rng, times=4)
    print(f"{name}: {killed.operations} operations, {dict(killed.kills)}")
    assert killed.kills["operation"] >= min(killed.operations, 24)
