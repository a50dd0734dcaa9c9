"""Where results lie: the one place for paths below the folder of results, which stages and rules share.

A pattern is such a path; its words in braces are the wildcards of the workflow's rules, and what ``at`` fills in.
"""

from __future__ import annotations

from pathlib import Path

from neural_kernels import sealed_arrays
from neural_kernels.sealed_arrays import SealedFolder
from neural_kernels.study.study import Kernel, Study

# Of the study that owns the data and the kernels.
DATA = "{study}/data/data.json"
FEATURES = "{study}/features/{preprocessing}/features.json"
KERNEL = "{study}/kernels/{kernel}/{part}/kernel.json"
BLOCK = "{study}/kernels/{kernel}/{part}/blocks/{i}-{j}.npy"
KEPT_BLOCK = "{study}/kernels/{kernel}/{part}/kept/{i}-{j}.npy"
PARTIAL_BLOCK = "{study}/kernels/{kernel}/{part}/partial/{i}-{j}.npy"

SOLVED = "{study}/solutions/{kernel}/{method}/n{n}/solved.json"
# Of all sizes that are solved in one job, and evaluated in one: what vouches for their files.
SMALL_SOLVED = "{study}/solutions/{kernel}/direct/small_sizes.json"
METRICS_OF_SIZE = "{study}/metrics/{kernel}/n{n}.parquet"
SMALL_EVALUATED = "{study}/metrics/{kernel}/small_sizes.json"
TASK_SCORES = "{study}/metrics/{kernel}/n{n}.tasks.parquet"
# Of the largest n alone, written with its metrics.
EXAMPLES = "{study}/examples/{kernel}/n{n}.parquet"
BASELINES = "{study}/baselines.parquet"
NAMES = "{study}/names.parquet"
BASELINE_EXAMPLES = "{study}/baseline_examples.parquet"
METRICS = "{study}/metrics.parquet"
CONVERGENCE = "{study}/convergence.parquet"
RIDGES = "{study}/ridges.parquet"
LEARNING_CURVE = "{study}/learning_curves/{kernel}.parquet"
TEST_PREDICTIONS = "{study}/test_predictions/{kernel}/n{n}.parquet"
APPROXIMATION = "{study}/approximations/{kernel}/{method}/size{size}.parquet"
APPROXIMATIONS = "{study}/approximations.parquet"

TUNING_STARTED = "{study}/tuning/started.json"
TRIAL = "{study}/tuning/trials/{trial}.json"
TRIALS = "{study}/tuning/trials.csv"
SELECTED = "{study}/tuning/selected.json"
TRANSFER = "{study}/tuning/transfer/{place}.json"
TUNED_TEST = "{study}/tuning/test/{candidate}.json"
TUNED = "{study}/tuned.yaml"

# What is written with reports, whose own files ``report`` and ``figure`` name.
FITS = "{study}/fits.csv"
FINAL = "{study}/final.csv"
PREDICTED = "{study}/learning_curves.csv"
SPLITS_REPORT = "{comparison}_splits.pdf"
SPLITS_FIGURE = "{comparison}/splits.png"
SPLITS_TABLE = "{comparison}/splits.csv"

# The short name of a report of augmentation, approximations, tasks or splits.
SHORT_REPORT = "{reported}.pdf"

# A table is named itself.
TABLE_REPORT = "{table}.pdf"
TABLE_TEXT = "{table}.md"


class _Wildcards(dict[str, object]):
    """What is not given stays a wildcard."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def filled(pattern: str, **names: object) -> str:
    """A pattern with ``names`` in their places; other wildcards stay."""
    return pattern.format_map(_Wildcards(names))


def at(results: Path, pattern: str, **names: object) -> Path:
    """The path of a pattern below ``results``; see ``filled``."""
    return results / filled(pattern, **names)


def report(kind: str) -> str:
    """The pattern of one kind of report of a study: each has a suffix of its own."""
    return f"{{study}}_{kind}.pdf"


def figure(kind: str) -> str:
    """The pattern of the picture that goes with a report of a study."""
    return f"{{study}}/{kind}.png"


def finding(kind: str) -> str:
    """The pattern of what a report found, a sentence: written with it, and no output of its rule."""
    return f"{{study}}/{kind}.txt"


def data_folder(study: Study, results: Path) -> Path:
    return at(results, DATA, study=study.owner).parent


def features_folder(study: Study, results: Path, kernel: Kernel) -> Path:
    return at(results, FEATURES, study=study.owner, preprocessing=kernel.preprocessing).parent


def store_folder(study: Study, results: Path, kernel: str, part: str) -> Path:
    return at(results, KERNEL, study=study.owner, kernel=kernel, part=part).parent


def solution_folder(study: Study, results: Path, kernel: str, n: int) -> Path:
    return at(results, SOLVED, study=study.name, kernel=kernel, method=study.method(n), n=n).parent


def metrics_file(study: Study, results: Path, kernel: str, n: int) -> Path:
    return at(results, METRICS_OF_SIZE, study=study.name, kernel=kernel, n=n)


def task_scores_file(study: Study, results: Path, kernel: str, n: int) -> Path:
    return at(results, TASK_SCORES, study=study.name, kernel=kernel, n=n)


def predictions_file(study: Study, results: Path, kernel: str, n: int) -> Path:
    return at(results, TEST_PREDICTIONS, study=study.name, kernel=kernel, n=n)


def approximation_file(study: Study, results: Path, kernel: str, method: str, size: int) -> Path:
    return at(results, APPROXIMATION, study=study.name, kernel=kernel, method=method, size=size)


def open_features_folder(study: Study, results: Path, kernel: Kernel) -> SealedFolder:
    """The folder of the features, targets and labels that a kernel is made of and solved for."""
    return sealed_arrays.open_folder(features_folder(study, results, kernel) / "features.json")
