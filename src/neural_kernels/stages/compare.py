"""The stage of the rule report_comparison."""

from __future__ import annotations

import logging
from pathlib import Path

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import published_table as comparison
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
    pdf = results / f"{asked.name}.pdf"
    comparison.write_comparison(asked, comparison.lines(asked, run), pdf, results / f"{asked.name}.md")
    log.info("%s, from %s", pdf, ", ".join(run) or "no study: none of its studies has been run")
