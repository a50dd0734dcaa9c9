"""What the report says in numbers: fits, results at the largest n, and how each solve went."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from neural_kernels.datasets.pools import Task
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS, RANKINGS, SCORE, TOP5
from neural_kernels.metrics.scaling_laws import NoFit, PowerLaw, fit_power_law
from neural_kernels.metrics.table import TRAIN
from neural_kernels.reports.chosen import count_passed_over
from neural_kernels.study.study import Study

CONFIDENCE = 0.95
KIND_NAMES = {"ntk": "NTK", "nngp": "NNGP"}


@dataclass(frozen=True)
class Curve:
    """One metric of one kernel on one test set, a point for each solve, sorted by n and draw.

    ``n`` and ``draw`` (points,) int64, ``value`` (points,) float64, ``converged`` (points,) bool.
    """

    kernel: str
    test_set: str
    metric: str
    n: np.ndarray
    draw: np.ndarray
    value: np.ndarray
    converged: np.ndarray


def checked(metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics table of one study.

    Raises:
        ValueError: not a metrics table, of several studies, or without losses of a test set.
    """
    metrics = metrics_table.check(metrics)
    studies = metrics["study"].unique()
    if len(studies) != 1:
        raise ValueError(f"the metrics table is of the studies {', '.join(studies)}, expected one")
    task_of(metrics)
    return metrics


def task_of(metrics: pd.DataFrame) -> Task:
    """What the test sets were scored by.

    Raises:
        ValueError: the table has no loss of any test set, or of both tasks.
    """
    found = set(metrics.loc[metrics["split"].isin(metrics_table.test_sets(metrics)), "metric"])
    tasks: list[Task] = [task for task, loss in LOSS.items() if loss in found]
    if "mse" in found:
        tasks = ["multilabel" if found.intersection(RANKINGS) else "regression"]
    if len(tasks) != 1:
        raise ValueError(f"the metrics table has {sorted(found)} for its test sets, expected loss or mse")
    return tasks[0]


def shown_metrics(metrics: pd.DataFrame) -> list[str]:
    """What the panels show: the loss, the score and, where the table has it, top-5 accuracy (paper, Fig. 3)."""
    task = task_of(metrics)
    return [LOSS[task], SCORE[task], *([TOP5] if (metrics["metric"] == TOP5).any() else [])]


def kernel_labels(metrics: pd.DataFrame, study: Study) -> dict[str, str]:
    """Kernel name to what people read, in the study's order: FC3 as "FC3 NTK", FC3_NTK as the same.

    Single precision is named, because it is not the default and costs accuracy (paper, section 2).
    """
    known = metrics.drop_duplicates("kernel").set_index("kernel")
    order = [str(kernel) for kernel in study.kernels if kernel in known.index]
    order += [str(kernel) for kernel in known.index if kernel not in order]
    labels = {kernel: _with_kind(kernel, KIND_NAMES[str(known.loc[kernel, "kind"])]) for kernel in order}
    names = list(labels.values())
    labels = {kernel: label if names.count(label) == 1 else kernel for kernel, label in labels.items()}
    single = set(metrics.loc[metrics["precision"] == "float32", "kernel"])
    return {kernel: f"{label}, float32" if kernel in single else label for kernel, label in labels.items()}


def _with_kind(kernel: str, kind: str) -> str:
    words = kernel.replace("_", " ")
    return words if kind.lower() in words.lower() else f"{words} {kind}"


def curve(metrics: pd.DataFrame, kernel: str, test_set: str, metric: str) -> Curve:
    """The curve of ``metric``; no points where the table has none."""
    chosen = (metrics["kernel"] == kernel) & (metrics["split"] == test_set) & (metrics["metric"] == metric)
    part = metrics.loc[chosen].sort_values(["n", "draw"])
    columns = (part[name].to_numpy() for name in ("n", "draw", "value", "converged"))
    return Curve(kernel, test_set, metric, *columns)


def fit_curve(points: Curve, study: Study) -> PowerLaw | NoFit:
    """Power law of a loss curve by the study's ``fit`` settings, without solves that did not converge."""
    used = points.converged
    law = fit_power_law(
        points.n[used],
        points.value[used],
        n_min=study.fit.n_min,
        n_max=study.fit.n_max,
        bootstrap=study.fit.bootstrap,
        confidence=study.fit.confidence,
        seed=study.seed,
    )
    if isinstance(law, NoFit) and not used.all():
        return replace(
            law, reason=f"{law.reason} ({int((~used).sum())} solves that did not converge left out)"
        )
    return law


def fits_table(metrics: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row for each kernel and test set: the exponent, its interval and range, or why there is no fit.

    Columns: study, kernel, label, architecture, kind, precision, test_set, metric, confidence, left_out (points of
    solves that did not converge), reason (empty where there is a fit), and those of ``PowerLaw``: a, alpha,
    alpha_low, alpha_high (inf without an upper end; both NaN where the interval is withheld), floor, line_alpha,
    line_low, line_high, p_no_floor, r_squared, n_min, n_max, points, resampled, remark. Numbers of a missing fit
    are NaN or <NA>.
    """
    metric = LOSS[task_of(metrics)]
    confidence = study.fit.confidence
    records = []
    for kernel, label in kernel_labels(metrics, study).items():
        first = metrics.loc[metrics["kernel"] == kernel].iloc[0]
        for test_set in metrics_table.test_sets(metrics):
            points = curve(metrics, kernel, test_set, metric)
            law = fit_curve(points, study)
            records.append(
                {
                    "study": first["study"],
                    "kernel": kernel,
                    "label": label,
                    "architecture": first["architecture"],
                    "kind": first["kind"],
                    "precision": first["precision"],
                    "test_set": test_set,
                    "metric": metric,
                    "confidence": confidence,
                    "left_out": int((~points.converged).sum()),
                    "reason": law.reason if isinstance(law, NoFit) else "",
                    **{field.name: getattr(law, field.name, None) for field in fields(PowerLaw)},
                }
            )
    table = pd.DataFrame(records)
    types = {"float": "float64", "int": "Int64", "str": "str"}
    return table.astype({field.name: types[str(field.type)] for field in fields(PowerLaw)})


def final_table(metrics: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row for each kernel, test set and metric at the largest n of that kernel.

    Columns: study, kernel, label, test_set, n, metric, mean, sd (over draws, NaN for one), draws,
    converged (all of them).
    """
    records = []
    for kernel, label in kernel_labels(metrics, study).items():
        own = metrics.loc[metrics["kernel"] == kernel]
        for test_set in metrics_table.test_sets(metrics):
            part = own.loc[own["split"] == test_set]
            part = part.loc[part["n"] == part["n"].max()]
            for metric, values in part.groupby("metric", sort=False):
                records.append(
                    {
                        "study": part["study"].iloc[0],
                        "kernel": kernel,
                        "label": label,
                        "test_set": test_set,
                        "n": int(part["n"].iloc[0]),
                        "metric": metric,
                        "mean": float(values["value"].mean()),
                        "sd": float(values["value"].std(ddof=1)),
                        "draws": len(values),
                        "converged": bool(values["converged"].all()),
                    }
                )
    return pd.DataFrame(records)


def solves_table(metrics: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row for each kernel, solver, n and way of stopping, with its draws taken together.

    Columns: kernel, label, engine, precision, solver, n, draws, ridge_low, ridge_high, iterations (the
    most), residual (the largest), seconds (the mean), passed_over (candidates of the ridge, of all draws),
    stopped_by, converged. A metric that no solve of the row has is NaN.
    """
    facts = metrics.loc[metrics["split"] == TRAIN]
    labels = kernel_labels(metrics, study)
    by = ["kernel", "engine", "precision", "solver", "n", "stopped_by", "converged"]
    records = []
    for key, part in facts.groupby(by, sort=False):
        group = dict(zip(by, key, strict=True))
        values = {metric: column["value"] for metric, column in part.groupby("metric")}
        records.append(
            {
                **group,
                "label": labels[str(group["kernel"])],
                "draws": part["draw"].nunique(),
                "ridge_low": part["ridge"].min(),
                "ridge_high": part["ridge"].max(),
                "iterations": values["iterations"].max() if "iterations" in values else np.nan,
                "residual": values["residual"].max() if "residual" in values else np.nan,
                "seconds": values["seconds"].mean() if "seconds" in values else np.nan,
                "passed_over": count_passed_over(part),
            }
        )
    columns = ["kernel", "label", "engine", "precision", "solver", "n", "draws", "ridge_low", "ridge_high"]
    columns += ["iterations", "residual", "seconds", "passed_over", "stopped_by", "converged"]
    table = pd.DataFrame(records, columns=columns)
    order = {kernel: place for place, kernel in enumerate(labels)}
    return table.sort_values(
        ["kernel", "n"], key=lambda c: c.map(order) if c.name == "kernel" else c, kind="stable"
    )


def footer(metrics: pd.DataFrame, study: Study) -> str:
    """What stands at the foot of every page of tables."""
    return f"{study.title}  ·  study {metrics['study'].iloc[0]}"
