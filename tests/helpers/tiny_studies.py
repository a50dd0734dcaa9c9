"""A tiny study of digits whose stages tests run in their own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.study.study import Study, load_study

EXAMPLES = 60
DIGITS: dict[str, Any] = {
    "title": "t",
    "data": {
        "name": "digits",
        "train_examples": EXAMPLES,
        "validation_examples": 25,
        "test_sets": {"digits": {"examples": 40}},
    },
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {
        "FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain", "test_examples": 33}
    },
    "blocks": {"edge": 17, "tile": 8},
}


def study_with_blocks(folder: Path, config: dict[str, Any]) -> tuple[Study, Path]:
    """The study ``tiny`` of ``config``, ``DIGITS`` and more, and its results: every block is there."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    study, results = load_study(folder / "tiny.yaml"), folder / "results"
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    for part in (part for part, examples in study.part_sizes.items() if examples):
        store = declare_kernel(study, results, "FC", part)
        for block in store.grid.blocks():
            compute_block(study, results, "FC", part, block, threads=1)
    return study, results
