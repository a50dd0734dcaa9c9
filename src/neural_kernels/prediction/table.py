"""The table of predictions: a row an input, in the units and with the names of the user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from neural_kernels.prediction import choosing

CLASS, RESIDUAL = "class", "variance_residual"
LOW, HIGH = "low_95", "high_95"
LEAST, MOST = "variance_least", "variance_most"


@dataclass(frozen=True)
class Outputs:
    """What a study predicts, and how its targets are turned back: value = mean + scale * target.

    Attributes:
        names: of the tasks or classes; one empty name where there is a single task without one.
        classes: whether the outputs are the scores of classes.
        mean, scale: (C,) float64.
    """

    names: tuple[str, ...]
    classes: bool
    mean: np.ndarray
    scale: np.ndarray

    def column(self, what: str, output: int) -> str:
        """Name of the column of ``what`` for an output."""
        return f"{what}_{self.names[output]}" if self.names[output] else what

    @property
    def predicted(self) -> str:
        """What a prediction is called."""
        return "score" if self.classes else "prediction"


@dataclass(frozen=True)
class Uncertainty:
    """Posterior variances (m, C) and variances of the noise (C,), in the units of the targets squared.

    ``residuals`` are those of the iterative solves for the variances, (m,), or None where there were none; ``bounds``
    what the variances lie between for 95 % of the inputs, (m, C) each, or None where each was solved for.
    """

    variance: np.ndarray
    noise: np.ndarray
    residuals: np.ndarray | None
    bounds: tuple[np.ndarray, np.ndarray] | None = None


def outputs_of(described: Mapping[str, Any]) -> Outputs:
    """The outputs of a study with these features (features.json)."""
    count = described["outputs"]
    classes = described["task"] == "classification"
    names = tuple(described["class_names"])
    if not names:
        names = ("",) if count == 1 and not classes else tuple(map(str, range(count)))
    if classes:
        # A score near one is a class, near zero none: targets are one-hot less 1/C.
        return Outputs(names, True, np.full(count, 1 / count), np.ones(count))
    scaling = described["target_scaling"] or {"mean": [0.0] * count, "scale": [1.0] * count}
    return Outputs(names, False, np.array(scaling["mean"]), np.array(scaling["scale"]))


def build(
    identifiers: pd.DataFrame,
    outputs: Outputs,
    mean: np.ndarray,
    uncertainty: Uncertainty | None = None,
    samples: np.ndarray | None = None,
    reach: np.ndarray | None = None,
    best: np.ndarray | None = None,
    nearest: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """The table.

    Args:
        identifiers: m rows that the table begins with.
        mean: (m, C) posterior mean in the units of the targets.
        samples: (m, C, S) functions drawn from the posterior.
        reach: (C,) standard deviations of a new measurement that an interval of 95 % reaches; None where not known.
        best: (C,) largest training value, in the units of the targets; None where a large one is no aim.
        nearest: columns (m,) on the nearest training example, which the table ends with.

    Returns:
        The columns of ``identifiers``, as ``beside`` has them; ``prediction``, or ``class`` and a ``score`` for each
        class; ``variance`` of the function and its root ``std_function``, ``noise_variance``, and ``std``, what a new
        measurement is expected within; ``low_95`` and ``high_95`` where ``reach`` is known; ``variance_least`` and
        ``variance_most`` where there are bounds; ``choosing.COLUMNS`` where ``best`` is given; ``sample_0`` and so on;
        those of ``nearest``.
        Where there are several outputs, their names follow, as in ``prediction_solubility``.
    """
    columns: dict[str, Any] = {}
    if outputs.classes:
        columns[CLASS] = np.array(outputs.names, object)[mean.argmax(axis=1)]
    count = mean.shape[1]
    for k in range(count):
        columns[outputs.column(outputs.predicted, k)] = outputs.mean[k] + outputs.scale[k] * mean[:, k]
    if uncertainty is not None:
        for k in range(count):
            variance = uncertainty.variance[:, k] * outputs.scale[k] ** 2
            columns[outputs.column("variance", k)] = variance
            noise = uncertainty.noise[k] * outputs.scale[k] ** 2
            columns[outputs.column("std", k)] = np.sqrt(variance + noise)
            columns[outputs.column("std_function", k)] = np.sqrt(variance)
            columns[outputs.column("noise_variance", k)] = np.full(len(mean), noise)
            if reach is not None and np.isfinite(reach[k]):
                centre, half = (
                    columns[outputs.column(outputs.predicted, k)],
                    reach[k] * np.sqrt(variance + noise),
                )
                columns[outputs.column(LOW, k)] = centre - half
                columns[outputs.column(HIGH, k)] = centre + half
            for what, bound in zip((LEAST, MOST), uncertainty.bounds or (), strict=False):
                columns[outputs.column(what, k)] = bound[:, k] * outputs.scale[k] ** 2
            if best is not None:
                largest = float(outputs.mean[k] + outputs.scale[k] * best[k])
                own = columns[outputs.column(outputs.predicted, k)]
                chosen = choosing.columns(own, np.sqrt(variance), largest)
                columns |= {outputs.column(what, k): column for what, column in chosen.items()}
        if uncertainty.residuals is not None:
            columns[RESIDUAL] = uncertainty.residuals
    if samples is not None:
        for k in range(count):
            for s in range(samples.shape[2]):
                values = outputs.mean[k] + outputs.scale[k] * samples[:, k, s]
                columns[outputs.column(f"sample_{s}", k)] = values
    return beside(identifiers, columns | dict(nearest or {}))


def beside(own: pd.DataFrame, found: Mapping[str, Any]) -> pd.DataFrame:
    """The user's columns, then those that were found; one of the user's that has the name of such is ``<name>_given``.

    Args:
        own: m rows.
        found: (m,) by name.
    """
    taken = {*map(str, own.columns), *found}
    renamed = {}
    for name in filter(found.__contains__, own.columns):
        other = f"{name}_given"
        while other in taken:
            other += "_given"
        taken.add(other)
        renamed[name] = other
    return pd.concat([own.rename(columns=renamed).reset_index(drop=True), pd.DataFrame(found)], axis=1)


def write(table: pd.DataFrame, suffix: str, file: BinaryIO) -> None:
    """``table`` as Parquet or, with every digit of its numbers, as CSV."""
    if suffix == ".parquet":
        table.to_parquet(file, index=False)
    else:
        file.write(table.to_csv(index=False).encode())
