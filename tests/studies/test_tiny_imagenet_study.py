"""A study of a made-up Tiny ImageNet of twelve classes, from its .zip to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import tiny_imagenet_files as made_up
import yaml

from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.stages.report import collect_metrics, report_scaling
from neural_kernels.stages.solve import solve
from neural_kernels.study.study import load_study

CLASSES = [f"n{number:08}" for number in range(12)]
IMAGES = 10
CONFIG: dict[str, Any] = {
    "title": "Tiny ImageNet, made up",
    "data": {
        "name": "tiny_imagenet",
        "image_size": 8,
        "train_examples": 96,
        "validation_examples": 24,
        "test_sets": {"tiny_imagenet": {}},
    },
    "preprocessing": {"whitened": {"method": "zca"}},
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "whitened"}},
    "blocks": {"edge": 96},
    "training_sizes": {"sizes": [6, 12, 24, 48, 96]},
    "ridge": {"candidates": [1e-3, 1e-1]},
}


def write_data(path: Path) -> Path:
    """Images of a class differ only by what their compression lost, so that a kernel can tell classes apart."""
    tree = {"wnids.txt": "\n".join(CLASSES).encode()}
    lines = []
    for label, name in enumerate(CLASSES):
        for number in range(IMAGES):
            content = made_up.jpeg(label, quality=30 + 6 * number)
            tree[f"train/{name}/images/{name}_{number}.JPEG"] = content
        tree[f"val/images/val_{label}.JPEG"] = made_up.jpeg(label, quality=95)
        lines.append(f"val_{label}.JPEG\t{name}\t0\t0\t9\t9\n")
    tree["val/val_annotations.txt"] = "".join(lines).encode()
    return made_up.write_zip(path, tree)


def test_a_study_runs_to_its_report_with_top5_accuracy(tmp_path: Path) -> None:
    data = CONFIG["data"] | {"path": str(write_data(tmp_path / "tiny.zip"))}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | {"data": data}))
    study, results = load_study(tmp_path / "tiny.yaml"), tmp_path / "results"
    prepare_data(study, results)
    preprocess_data(study, results, "whitened")
    for part in ("train", "validation", "tiny_imagenet"):
        declare_kernel(study, results, "FC", part)
        compute_block(study, results, "FC", part, (0, 0), threads=1)
    for n in study.training_sizes("FC"):
        solve(study, results, "FC", n, threads=1)
        evaluate_predictions(study, results, "FC", n)
    collect_metrics(study, results)
    report_scaling(study, results)
    assert (results / "tiny_scaling.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_parquet(results / "tiny" / "metrics.parquet").query("split == 'tiny_imagenet'")
    scores = table.pivot(index="n", columns="metric", values="value")
    assert scores["accuracy"][96] == scores["top5_accuracy"][96] == 1
    assert (scores["accuracy"] <= scores["top5_accuracy"]).all()
    # Six training images are of at most six of the twelve classes.
    assert 1 / 12 < scores["accuracy"][6] <= 1 / 2
    assert scores["loss"].is_monotonic_decreasing
    final = pd.read_csv(results / "tiny" / "final.csv")
    assert set(final["metric"]) == {"loss", "accuracy", "top5_accuracy"}
