"""The reports that a study may have, in one table: the verb and the file of each, and which studies have it.

Those of comparisons and tables, which are no study's, are named in ``study/folders.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from neural_kernels.errors import UserError
from neural_kernels.study import folders
from neural_kernels.study.study import Study


@dataclass(frozen=True)
class ReportKind:
    """``results/<study>_<name>.pdf``, which the rule ``report_<name>`` draws with the verb ``report-<name>``.

    Attributes:
        stage: its module and function in ``stages``, as in the table of verbs.
        text: what the verb does.
        of: what a config has that asks for it, None where every study has it.
        asked: whether a study asks for it.
        refuse: raises UserError for a study that asks for it and that it cannot be drawn of.
        short: whether results/<study>.pdf is short for it, the first such one that the study asks for.
    """

    name: str
    stage: str
    text: str
    of: str | None = field(default=None, kw_only=True)
    asked: Callable[[Study], bool] = field(default=lambda study: True, kw_only=True)
    refuse: Callable[[Study], None] = field(default=lambda study: None, kw_only=True)
    short: bool = field(default=False, kw_only=True)

    def check(self, study: Study) -> None:
        """Refuse a study that does not ask for it, or that it cannot be drawn of."""
        if not self.asked(study):
            file = folders.filled(folders.report(self.name), study=study.name)
            raise UserError(f"config/{study.name}.yaml has no {self.of}, which results/{file} would report")
        self.refuse(study)


def _refuse_part_copies(study: Study) -> None:
    """A training size has to be all images times an augmentation factor."""
    for kernel in study.kernels:
        study.augmentation_factors(kernel)


_KINDS = (
    ReportKind("scaling", "report:report_scaling", "fit power laws and draw the report"),
    ReportKind(
        "approximations",
        "approximations:report_approximations",
        "draw the report of the approximations",
        of="section approximations",
        asked=lambda study: bool(study.approximations()),
        short=True,
    ),
    ReportKind(
        "tasks",
        "tasks:report_tasks",
        "draw the report of each task's scores, beside published ones",
        of="section tasks",
        asked=lambda study: study.has_tasks,
        short=True,
    ),
    ReportKind(
        "augmentation",
        "augmentation:report_augmentation",
        "draw the report of accuracy against the augmentation factor",
        of="data.augmentation of factor 2 or more",
        asked=lambda study: study.augmentation_factor > 1,
        refuse=_refuse_part_copies,
        short=True,
    ),
    ReportKind(
        "tuning",
        "tune:report_tuning",
        "draw the report of a tuning study",
        of="section tuning",
        asked=lambda study: study.tuning is not None,
    ),
)

REPORT_KINDS = {kind.name: kind for kind in _KINDS}


def short_report(study: Study) -> ReportKind:
    """The report that results/<study>.pdf is short for.

    Raises:
        UserError: the study asks for none that has a short name.
    """
    short = [kind for kind in _KINDS if kind.short]
    for kind in short:
        if kind.asked(study):
            return kind
    raise UserError(
        f"config/{study.name}.yaml has no {', no '.join(str(kind.of) for kind in short)}, one of which "
        f"results/{study.name}.pdf would report: expected one, or the target "
        f"results/{folders.filled(folders.report('scaling'), study=study.name)}"
    )
