"""Which training sizes of a kernel are solved in one job, and evaluated in one: those that take seconds."""

from __future__ import annotations

from neural_kernels.errors import UserError
from neural_kernels.planning.small_work import LOGIN
from neural_kernels.planning.solve_seconds import Pace, of_size
from neural_kernels.study.study import Study, kernel_named

SECONDS = 120
"""All of them together, solved and evaluated on one core: about what submitting a job for each would take."""

MANY_OUTPUTS = 256
"""Classes or tasks that are reckoned with: a config does not say how many there are."""


def small_sizes(study: Study, kernel: str, pace: Pace = LOGIN) -> list[int]:
    """The leading training sizes of a kernel that are one job, ascending; none where that would be a single size.

    It follows from the config alone, by figures on the safe side: so it is the same in the process that plans and in
    that of each job, and before the data is there and afterwards. Else finished work would be looked for elsewhere.
    """
    found, seconds = [], 0.0
    for n in study.training_sizes(kernel):
        seconds += _of_size(study, kernel, n, pace)
        if study.method(n) != "direct" or seconds > SECONDS:
            break
        found.append(n)
    return found if len(found) > 1 else []


def some_small_sizes(study: Study, kernel: str) -> list[int]:
    """``small_sizes``, at least two.

    Raises:
        UserError: it has none, or the study has no such kernel.
    """
    found = small_sizes(study, kernel_named(study, kernel).name)
    if not found:
        raise UserError(
            f"config/{study.name}.yaml: kernel {kernel} has no two training sizes that are solved within seconds: "
            "ask for each by itself"
        )
    return found


def _of_size(study: Study, kernel: str, n: int, pace: Pace) -> float:
    # Tasks that lack labels of their own are factorised one by one.
    factorised = MANY_OUTPUTS if study.has_tasks else 1
    entries = n * study.draws(n, kernel) * sum(study.evaluation_sizes(kernel).values())
    predicted = 8 * entries / pace.bytes + 2 * entries * MANY_OUTPUTS / pace.flops
    return of_size(study, kernel, n, MANY_OUTPUTS, pace, factorised) + predicted
