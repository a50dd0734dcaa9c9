"""What each report found, a sentence: kept beside the report, and said at the end of a run."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from neural_kernels.errors import UserError
from neural_kernels.stages.report_kinds import short_report
from neural_kernels.stages.targets import SPLITS, by_suffix
from neural_kernels.storage.files import write_atomically
from neural_kernels.study import folders
from neural_kernels.study.study import load_study

log = logging.getLogger(__name__)


def keep(pdf: Path, kind: str, name: str, sentence: str) -> None:
    """Keep what the report ``pdf`` of a study or comparison found, and say it.

    It is no output of a rule: results of a version that kept none are not made again for it.
    """
    path = folders.at(pdf.parent, folders.finding(kind), study=name)
    write_atomically(path, lambda file: file.write(f"{sentence}\n".encode()))
    log.info("%s: %s", pdf, sentence)


def of_target(target: str, config: Path) -> str | None:
    """A PDF that was asked for and what it found, its path alone where that was not kept; None of any other target.

    Args:
        target: a path as a person gives it to Snakemake, below results in the working directory.
        config: the folder of the studies.
    """
    path = Path(os.path.relpath(target))
    if path.parent != Path("results") or path.suffix != ".pdf":
        return None
    try:
        kind, name = by_suffix(path.name, config) or ("", path)
        if not kind or not name.is_file():
            study = config / f"{path.stem}.yaml"
            kind, name = (short_report(load_study(study)).name if study.is_file() else SPLITS), study
        kept = folders.at(path.parent, folders.finding(kind), study=name.stem)
        return f"{path}: {kept.read_text(encoding='utf-8').strip()}"
    except (UserError, OSError, UnicodeDecodeError):
        return str(path)
