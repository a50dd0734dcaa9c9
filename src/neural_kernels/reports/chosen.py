"""What was chosen among a study's candidates, as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from neural_kernels.metrics.table import TRAIN
from neural_kernels.solvers.criteria import TITLES, VALIDATION
from neural_kernels.study.study import Study

AT_END = "*"
AT_END_NOTE = f"{AT_END} the smallest or largest candidate: a better one may lie beyond."


def candidate_ends(candidates: Sequence[float]) -> tuple[float, float] | None:
    """Smallest and largest of a study's candidates, ascending; None where there is no choice."""
    return (candidates[0], candidates[-1]) if candidates and candidates[0] < candidates[-1] else None


def chosen(values: np.ndarray, ends: tuple[float, float] | None) -> str:
    """The range of ``values``, (draws,), marked where it reaches one of the ``ends``; empty for none."""
    if len(values) == 0:
        return ""
    low, high = values.min(), values.max()
    text = f"{low:.0e}" if np.isclose(low, high) else f"{low:.0e} \N{EN DASH} {high:.0e}"
    at_end = ends is not None and (np.isclose(low, ends[0], atol=0) or np.isclose(high, ends[1], atol=0))
    return text + (AT_END if at_end else "")


def how_the_ridge_is_chosen(study: Study) -> str:
    """What a note says of the ridge of a study's solves: "chosen on the validation set", say."""
    if len(study.ridge_candidates()) == 1:
        return "given in the config, not chosen here"
    by = study.ridge.choose_by
    return "chosen on the validation set" if by == VALIDATION else f"chosen by {TITLES[by]}"


def count_passed_over(solves: pd.DataFrame) -> int:
    """How many candidates of ridge or jitter these rows of a metrics table passed over, in all draws."""
    counted = solves["metric"].isin(("ridges_passed_over", "jitters_passed_over"))
    return int(solves.loc[(solves["split"] == TRAIN) & counted, "value"].sum())


def passed_over_note(counts: Iterable[tuple[str, int]]) -> list[str]:
    """A note on what was passed over: the name of each solve and how many candidates. None where none was."""
    found = "; ".join(f"{name}: {count}" for name, count in counts if count)
    return (
        [f"Candidates passed over, since the kernel is singular to rounding there: {found}."] if found else []
    )
