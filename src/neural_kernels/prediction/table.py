"""The table of predictions: a row an input, in the units and with the names of the user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from neural_kernels.errors import UserError

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
) -> pd.DataFrame:
    """The table.

    Args:
        identifiers: m rows that the table begins with.
        mean: (m, C) posterior mean in the units of the targets.
        samples: (m, C, S) functions drawn from the posterior.
        reach: (C,) standard deviations of a new measurement that an interval of 95 % reaches; None where not known.

    Returns:
        The columns of ``identifiers``; ``prediction``, or ``class`` and a ``score`` for each class; ``variance``
        of the function and its root ``std_function``, ``noise_variance``, and ``std``, what a new measurement is
        expected within; ``low_95`` and ``high_95`` where ``reach`` is known; ``variance_least`` and
        ``variance_most`` where there are bounds; ``sample_0`` and so on.
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
        if uncertainty.residuals is not None:
            columns[RESIDUAL] = uncertainty.residuals
    if samples is not None:
        for k in range(count):
            for s in range(samples.shape[2]):
                values = outputs.mean[k] + outputs.scale[k] * samples[:, k, s]
                columns[outputs.column(f"sample_{s}", k)] = values
    return pd.concat([identifiers.reset_index(drop=True), pd.DataFrame(columns)], axis=1)


def check_names(
    source: str, identifiers: pd.DataFrame, outputs: Outputs, variance: bool, samples: int
) -> None:
    """Refuse inputs with a column that the table of predictions has itself.

    Raises:
        UserError: the column is named.
    """
    whats = [outputs.predicted]
    whats += ["variance", "std", "std_function", "noise_variance", LOW, HIGH, LEAST, MOST] if variance else []
    whats += [f"sample_{s}" for s in range(samples)]
    own = {outputs.column(what, k) for what in whats for k in range(len(outputs.names))}
    own |= {CLASS} if outputs.classes else set()
    own |= {RESIDUAL} if variance else set()
    for name in map(str, identifiers.columns):
        if name in own:
            raise UserError(
                f"{source}: its column {name!r} has the name of a column of predictions, expected another name"
            )


def write(table: pd.DataFrame, suffix: str, file: BinaryIO) -> None:
    """``table`` as Parquet or, with every digit of its numbers, as CSV."""
    if suffix == ".parquet":
        table.to_parquet(file, index=False)
    else:
        file.write(table.to_csv(index=False).encode())
