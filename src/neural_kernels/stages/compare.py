"""The stage of the rule report_comparison."""

from __future__ import annotations

import logging
from pathlib import Path

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import published_table as comparison
from neural_kernels.study import folders
from neural_kernels.study.folders import at
from neural_kernels.study.published_table import load_table

log = logging.getLogger(__name__)


def report_comparison(path: Path, results: Path) -> None:
    """The table in ``path``, config/tables/<table>.yaml, of the studies that have been run, as PDF and Markdown.

    Raises:
        UserError: see ``load_table`` and ``comparison.lines``.
    """
    asked = load_table(path)
    run = {
        name: (asked.study(name), metrics_table.read(file))
        for name, file in asked.metrics_files(results).items()
    }
    pdf, text = (
        at(results, pattern, table=asked.name) for pattern in (folders.TABLE_REPORT, folders.TABLE_TEXT)
    )
    comparison.write_comparison(asked, comparison.lines(asked, run), pdf, text)
    log.info("%s, from %s", pdf, ", ".join(run) or "no study: none of its studies has been run")
