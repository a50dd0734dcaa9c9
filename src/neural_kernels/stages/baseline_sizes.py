"""How many examples the simple methods are fitted to, and how many they predict: what planning needs of them too."""

from __future__ import annotations

from neural_kernels.study.study import Study


def trained_on(study: Study) -> int:
    """Training examples that the methods are fitted to: the first, without augmented copies."""
    largest = max(study.training_sizes(kernel)[-1] for kernel in study.kernels)
    return min(study.sections.baselines.examples, largest, study.images)


def predicted_parts(study: Study) -> dict[str, int]:
    """Examples of the validation and test sets that are predicted: as many as any kernel is evaluated on."""
    found: dict[str, int] = {}
    for kernel in study.kernels:
        for part, size in study.evaluation_sizes(kernel).items():
            found[part] = max(size, found.get(part, 0))
    return found
