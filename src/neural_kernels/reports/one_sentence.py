"""What each report found, in one sentence: the last line of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS, SCORE
from neural_kernels.metrics.scaling_laws import NO_POWER_LAW, interval
from neural_kernels.reports import style
from neural_kernels.reports.approximation_tables import NAMES
from neural_kernels.reports.scaling_summary import final_table, fits_table, kernel_labels, task_of
from neural_kernels.reports.tuning_summary import Results
from neural_kernels.study.study import Study

_WORDS = {
    "accuracy": "accuracy",
    "average_precision": "mean average precision",
    "loss": "loss",
    "mse": "mean squared error",
    "roc_auc": "mean ROC-AUC",
    "spearman": "Spearman correlation",
}


def of_scaling(metrics: pd.DataFrame, study: Study) -> str:
    """The kernel with the lowest loss at its largest n, and how that loss falls."""
    best = _best(final_table(metrics, study), metrics)
    fits = fits_table(metrics, study)
    own = fits["kernel"].eq(best["kernel"]) & fits["test_set"].eq(best["test_set"])
    return f"{_sentence(best, metrics)}; {_exponent(fits.loc[own].iloc[0])}"


def of_scores(metrics: pd.DataFrame, study: Study) -> str:
    """The kernel with the lowest loss at its largest n."""
    return _sentence(_best(final_table(metrics, study), metrics), metrics)


def of_augmentation(metrics: pd.DataFrame, study: Study, images: int) -> str:
    """The kernel of the lowest loss with the most copies, beside itself with the fewest."""
    best = _best(final_table(metrics, study), metrics)
    own = metrics.loc[metrics["kernel"] == best["kernel"]]
    fewest = int(own["n"].min())
    if fewest == best["n"]:
        return _sentence(best, metrics)
    first = _best(final_table(own.loc[own["n"] == fewest], study), metrics)
    score = SCORE[task_of(metrics)]
    factors = f"{first['n'] // images:,} to {best['n'] // images:,}"
    scores = f"{_number(score, first['score'])} to {_number(score, best['score'])}"
    where = style.test_set_name(best["test_set"])
    return f"from factor {factors} {best['label']} goes from {_WORDS[score]} {scores} on {where}"


def of_approximations(metrics: pd.DataFrame, study: Study) -> str:
    """The approximation whose loss is the lowest, beside the full solution of its kernel."""
    loss, test_set = LOSS[task_of(metrics)], metrics_table.test_sets(metrics)[0]
    rows = metrics.loc[(metrics["split"] == test_set) & (metrics["metric"] == loss)]
    found = rows.groupby(["kernel", "solver", "size"])["value"].mean().reset_index()
    approximate = found.loc[found["solver"].isin(list(NAMES))]
    if approximate["value"].isna().all():
        return f"no approximation has a {_WORDS[loss]}"
    best = approximate.sort_values("value", kind="stable").iloc[0]
    full = found.loc[found["kernel"].eq(best["kernel"]) & found["size"].eq(0), "value"].min()
    name = NAMES[str(best["solver"])]
    label = kernel_labels(metrics, study)[str(best["kernel"])]
    return (
        f"of the approximations, {name} of size {best['size']:,} has the lowest {_WORDS[loss]} on "
        f"{style.test_set_name(test_set)}: {best['value']:.4g}, where the full solution of {label} has {full:.4g}"
    )


def of_tuning(results: Results) -> str:
    """What the best trial gives, beside the baseline: on the first test set, else by what chose it."""
    best, name = results.tested["tuned"], results.objective.name
    pair = (best, results.baseline)
    if any(record.assessment is None for record in pair):
        return f"trial {results.ranking[0].name} is the best of {len(results.trials)}"
    test_set = next(iter(results.test_examples), None)
    assessed = [record.assessment for record in pair if record.assessment is not None]
    if test_set is not None and all(name in found.scores.get(test_set, {}) for found in assessed):
        values, where = [found.scores[test_set][name] for found in assessed], style.test_set_name(test_set)
    else:
        values, where = [found.value for found in assessed], "what chose it"
    tuned, baseline = (_number(name, value) for value in values)
    return (
        f"trial {results.ranking[0].name} is the best of {len(results.trials)}: {_word(name)} {tuned} on {where}, "
        f"where {results.baseline_label()} has {baseline}"
    )


def of_splits(summary: pd.DataFrame) -> str:
    """The rank correlation of each split's kernel, which its validation examples chose."""
    chosen = summary.loc[summary["chosen"] & summary["spearman"].notna()]
    found = [f"{row['split']} {row['spearman']:.3f} ({row['label']})" for row in chosen.to_dict("records")]
    return f"Spearman correlations {_listed(found)}" if found else "no split has been run"


def _best(final: pd.DataFrame, metrics: pd.DataFrame) -> dict[str, Any]:
    """The row of the lowest loss on the first test set, with the score beside it."""
    task, test_set = task_of(metrics), metrics_table.test_sets(metrics)[0]
    rows = final.loc[final["test_set"].eq(test_set)]
    losses = rows.loc[rows["metric"].eq(LOSS[task])].sort_values("mean", kind="stable")
    best: dict[str, Any] = {str(key): value for key, value in losses.iloc[0].items()}
    score = rows.loc[rows["kernel"].eq(best["kernel"]) & rows["metric"].eq(SCORE[task])]
    best["score"] = float(score["mean"].iloc[0]) if len(score) else np.nan
    best["score_sd"] = float(score["sd"].iloc[0]) if len(score) else np.nan
    best["kernels"] = len(losses)
    return best


def _sentence(best: dict[str, Any], metrics: pd.DataFrame) -> str:
    task = task_of(metrics)
    loss, score, where = LOSS[task], SCORE[task], style.test_set_name(best["test_set"])
    among = f" has the lowest {_WORDS[loss]} of {best['kernels']} kernels," if best["kernels"] > 1 else ""
    said = [f"{_WORDS[loss]} {best['mean']:.4g}"]
    if not np.isnan(best["score"]):
        spread = "" if np.isnan(best["score_sd"]) else f" ± {_number(score, best['score_sd'])}"
        said.insert(0, f"{_WORDS[score]} {_number(score, best['score'])}{spread}".replace(" % ±", " ±"))
    doubt = "" if best["converged"] else " (not converged)"
    return f"{best['label']}{among} at n = {best['n']:,}{doubt}: {', '.join(said)} on {where}"


def _exponent(fit: Any) -> str:
    if fit["reason"]:
        return NO_POWER_LAW if fit["reason"].startswith(NO_POWER_LAW) else "no exponent"
    text = f"the {_WORDS[fit['metric']]} falls as n^-{fit['alpha']:.3f}"
    text += "" if np.isnan(fit["alpha_low"]) else f" {interval(fit['alpha_low'], fit['alpha_high'])}"
    return f"{text} to a floor of {fit['floor']:.3g}" if fit["floor"] > 0 else text


def _word(metric: str) -> str:
    return _WORDS.get(metric, metric)


def _number(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric in style.PERCENT else f"{value:.3f}"


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
