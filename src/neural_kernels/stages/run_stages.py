"""The stages of a run as people see them, from the rules of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from neural_kernels.study.study import Study

_BLOCKS = "blocks"
STAGES = {
    "data": ("prepare_data", "preprocess_data", "declare_kernel"),
    "tuning": ("start_tuning", "run_trial", "select_tuned", "transfer_trial", "test_tuned"),
    "baselines": ("fit_baselines",),
    _BLOCKS: ("compute_block",),
    "solving": ("solve_small_sizes", "solve_directly", "solve_iteratively", "predict_learning_curve"),
    "approximations": ("approximate_solution",),
    "evaluation": ("evaluate_small_sizes", "evaluate_predictions", "predict_tests"),
    "report": (),
}
"""Of each stage its rules, in the order in which stages are shown; what is not listed belongs to the report."""

_STAGE_OF = {rule: (place, name) for place, (name, rules) in enumerate(STAGES.items()) for rule in rules}
_REPORT = len(STAGES) - 1, "report"

Job = tuple[str, Mapping[str, str], int]
"""Its rule, its wildcards and its number."""


def grouped(jobs: Iterable[Job], study: Callable[[str], Study]) -> dict[str, list[int]]:
    """Stages and the numbers of their jobs; blocks are a stage a kernel, in the order of the study's config.

    Args:
        study: gives a study by its name.
    """
    found: dict[tuple[int, str, int, str], list[int]] = {}
    for rule, wildcards, number in jobs:
        place, name = _STAGE_OF.get(rule, _REPORT)
        if name == _BLOCKS:
            owner, kernel = wildcards["study"], wildcards["kernel"]
            key = place, owner, list(study(owner).kernels).index(kernel), kernel
        else:
            key = place, "", 0, name
        found.setdefault(key, []).append(number)
    several = len({owner for _, owner, _, _ in found if owner}) > 1
    named = {}
    for key in sorted(found):
        _, owner, _, name = key
        label = f"{_BLOCKS} of {name}{f', {owner}' if several else ''}" if owner else name
        named[label] = found[key]
    return named


def counted(stages: Mapping[str, list[int]]) -> str:
    """Stages and how many jobs they have, in one line."""
    return "stages: " + ", ".join(f"{name} {len(jobs):,}" for name, jobs in stages.items())
