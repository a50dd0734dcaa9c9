"""How often the interval of a scaling exponent covers it, over simulated learning curves.

    python benchmarks/scaling_intervals.py                 (half an hour)
    python benchmarks/scaling_intervals.py --curves 50     (five minutes)

A curve is a n^-alpha + c from n = 16, a point an octave, alpha uniform in [0.1, 0.5]; the logarithm of each draw's loss
has normal errors. The fit is the report's: it looks for the shallow start itself. The last curves are of no such law:
their exponent changes, at once or gradually, and there is nothing to cover. Prints tables in Markdown and writes
results/benchmarks/scaling_intervals.csv, a row for each case with the shares of its curves.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neural_kernels.metrics.scaling_laws import NoFit, fit_power_law

ROOT = Path(__file__).parent.parent
FLOORS = (0.0, 0.05, 0.2, 0.5)
SIZES = (5, 7, 9, 11)
NOISES = (0.003, 0.01, 0.03)
DRAWS = ("1", "3", "5", "4, 4, ..., 2, 1")
BENDS = ("0.3 to 0.1 in the middle", "0.1 to 0.3 in the middle", "0 to 0.25 gradually")


@dataclass(frozen=True)
class Case:
    """``curve`` is the floor's share of the last loss, or one of ``BENDS``; ``noise`` of the log loss of one draw."""

    curve: float | str
    sizes: int
    draws: str
    noise: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", type=int, default=300, help="of each case, default %(default)s")
    curves = parser.parse_args().curves
    table = pd.DataFrame([asdict(case) | shares(case, curves, place) for place, case in enumerate(cases())])
    out = ROOT / "results" / "benchmarks" / "scaling_intervals.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    laws = table.loc[~table["curve"].isin(BENDS)]
    for group in (["curve", "sizes"], ["draws"], ["noise"]):
        print(summary(laws, group), end="\n\n")
    print(summary(table.loc[table["curve"].isin(BENDS)], ["curve", "noise"], covers=False))


def cases() -> Iterator[Case]:
    """Every curve at every number of sizes, draws and noise."""
    curves: tuple[float | str, ...] = (*FLOORS, *BENDS)
    for curve, sizes, draws, noise in itertools.product(curves, SIZES, DRAWS, NOISES):
        yield Case(curve, sizes, draws, noise)


def shares(case: Case, curves: int, place: int) -> dict[str, int]:
    """Of so many curves: how many have an interval, how many of these cover the exponent, and the rest."""
    given, covered, line_covered, floors, endless, refused = 0, 0, 0, 0, 0, 0
    for seed in range(curves):
        rng = np.random.default_rng((place, seed))
        alpha = rng.uniform(0.1, 0.5)
        n = repeated(2 ** np.arange(4, 4 + case.sizes), case.draws)
        loss = losses(case.curve, alpha, n) * np.exp(case.noise * rng.standard_normal(len(n)))
        law = fit_power_law(n, loss, bootstrap=200, seed=seed)
        if isinstance(law, NoFit):
            refused += 1
            continue
        line_covered += law.line_low <= alpha <= law.line_high
        if np.isfinite(law.alpha_low):
            given += 1
            covered += law.alpha_low <= alpha <= law.alpha_high
            floors += law.floor > 0
            endless += not np.isfinite(law.alpha_high)
    return {
        "curves": curves,
        "given": given,
        "covered": covered,
        "floors": floors,
        "without_upper_end": endless,
        "no_power_law": refused,
        "line_covered": line_covered,
    }


def repeated(sizes: np.ndarray, draws: str) -> np.ndarray:
    """Each size as often as it has draws; the last pattern is that of disjoint windows of the largest size."""
    if draws.isdigit():
        return np.repeat(sizes, int(draws))
    return np.repeat(sizes, np.minimum(4, sizes[-1] // sizes))


def losses(curve: float | str, alpha: float, n: np.ndarray) -> np.ndarray:
    """(points,) float64, without errors."""
    octaves = np.log2(n / n[0])
    middle = octaves[-1] / 2
    if curve == BENDS[0]:
        return 2 ** -(0.3 * np.minimum(octaves, middle) + 0.1 * np.maximum(octaves - middle, 0))
    if curve == BENDS[1]:
        return 2 ** -(0.1 * np.minimum(octaves, middle) + 0.3 * np.maximum(octaves - middle, 0))
    if curve == BENDS[2]:
        return (1 + n / n[0] / 8) ** -0.25
    share = float(curve)
    falling = n ** -float(alpha)
    return falling + falling[-1] * share / (1 - share)


def summary(table: pd.DataFrame, group: list[str], covers: bool = True) -> str:
    """Percentages of each group in Markdown, and the ends of the coverage of its cases with 100 intervals or more."""
    columns = ["given", "floors", "without_upper_end", "no_power_law"]
    lines = [[*group, "curves", "interval given", "with a floor", "without upper end", "no power law"]]
    if covers:
        lines[0] += ["interval covers", "least to most of a case", "the line's interval covers"]
    lines.append(["---"] * len(lines[0]))
    for key, part in table.groupby(group, sort=False):
        total = part[["curves", "covered", "line_covered", *columns]].sum()
        line = [*map(str, key), str(total["curves"])]
        line += [f"{100 * total[name] / total['curves']:.0f}" for name in columns]
        if covers:
            many = part.loc[part["given"] >= 100]
            ends = 100 * many["covered"] / many["given"]
            fitted = total["curves"] - total["no_power_law"]
            line += [
                f"{100 * total['covered'] / total['given']:.1f}",
                f"{ends.min():.1f} to {ends.max():.1f}",
            ]
            line.append(f"{100 * total['line_covered'] / fitted:.1f}")
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
