"""``snakemake --logger stages``: a line a stage with its share and the time left, in place of several lines a job.

Snakemake finds a logger by the name of its package. This one knows of no workflow: which jobs are a stage it is told by
a record with the attribute ``stages``, names to numbers of jobs, without which each rule is one. Records with the
attribute ``finding`` are the last lines, and so is what the handler's function ``found`` gives where nothing is to be
done. Errors and warnings are Snakemake's, in full, and so is all output of a dry run, with --verbose, --printshellcmds
and --quiet.

Jobs inherit this standard error. Those of ours leave it alone where the variable ``DISPLAYED`` names it.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_stages.outputs import Lines, Output, Terminal
from snakemake_logger_plugin_stages.progress import Progress, Stage

DISPLAYED = "SNAKEMAKE_STAGES_STDERR"
"""Device and inode of the standard error that stages are shown on, as systemd's JOURNAL_STREAM has them: on a cluster's
node it is another one."""

SILENT = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.SHELLCMD,
    LogEvent.JOB_STARTED,
    LogEvent.GROUP_INFO,
    LogEvent.RESOURCES_INFO,
    LogEvent.DEBUG_DAG,
    LogEvent.PROGRESS,
    LogEvent.RULEGRAPH,
}
# Of messages without an event, what says nothing new of a run; what is not listed is shown.
ROUTINE = re.compile(
    "Assuming unrestricted shared filesystem|Building DAG of jobs|Using shell:|host: |Select jobs to execute|"
    "(Conda environments|Singularity containers): ignored|Job rate limit reached|Elapsed time: |None$|"
    "Write-protecting output|Touching output|Removing temporary output|Provided (cores|nodes)|Rules claiming more|"
    r"(Group j|J)ob \S+ has been submitted|Submitted (group )?job|SLURM run ID"
)
NOTHING_TO_DO = re.compile("Nothing to be done")
COMPLETE_LOG = re.compile(r"Complete log\(s\): ")
SECONDS_A_FRAME = 1.0


class LogHandler(LogHandlerBase):
    """What Snakemake tells of a run, as stages."""

    def __post_init__(self) -> None:
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
        from snakemake.settings.enums import Quietness

        asked = self.common_settings
        quiet = set(asked.quiet or ())
        if asked.dryrun:
            # Else a quiet dry run would not print how many jobs each rule has.
            quiet.discard(Quietness.PROGRESS)
        own = ColorizingTextHandler(asked.nocolor, sys.stdout if asked.stdout else sys.stderr)
        own.setFormatter(DefaultFormatter(quiet, asked.show_failed_logs))
        own.addFilter(
            DefaultFilter(quiet, asked.debug_dag, asked.verbose, asked.dryrun, asked.printshellcmds)
        )
        self._own = own
        self._progress = Progress()
        self._output: Output | None = None
        self._findings: list[str] = []
        self.found: Callable[[], list[str]] = list
        self._failed, self._ended = False, threading.Event()
        everything = asked.dryrun or asked.verbose or asked.printshellcmds or asked.debug_dag
        if everything or quiet & {Quietness.ALL, Quietness.RULES, Quietness.PROGRESS}:
            return
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._output = Terminal(sys.stderr, self._progress)
            threading.Thread(target=self._redraw, daemon=True).start()
        else:
            self._output = Lines(sys.stderr, self._progress)
        with contextlib.suppress(OSError, ValueError):
            status = os.fstat(sys.stderr.fileno())
            os.environ[DISPLAYED] = f"{status.st_dev}:{status.st_ino}"

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._output is None:
                self._own.handle(record)
            else:
                self._show(record, self._output)
        except Exception:
            self.handleError(record)

    def _show(self, record: logging.LogRecord, output: Output) -> None:
        event, now = getattr(record, "event", None), time.monotonic()
        changed: Stage | None = None
        if event == LogEvent.RUN_INFO:
            counts = {rule: count for rule, count in vars(record)["stats"].items() if rule != "total"}
            self._progress.plan_rules(counts)
            if isinstance(output, Lines):
                output.say(record.getMessage().rstrip())
        elif hasattr(record, "stages"):
            self._progress.plan_stages(record.stages)
        elif hasattr(record, "finding"):
            self._findings.append(record.getMessage())
        elif event == LogEvent.JOB_INFO:
            changed = self._progress.start(vars(record)["jobid"], vars(record)["rule_name"], now)
        elif event == LogEvent.JOB_FINISHED:
            changed = self._progress.finish(vars(record)["job_id"], now)
        elif event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            self._failed = True
            failed = [vars(record)] if event == LogEvent.JOB_ERROR else vars(record)["job_error_info"]
            for job in failed:
                self._progress.fail(job["jobid"], now)
            output.say(self._text(_without_files(record)))
        elif record.levelno >= logging.WARNING:
            self._failed |= record.levelno >= logging.ERROR
            output.say(self._text(record))
        elif COMPLETE_LOG.match(record.getMessage()):
            if self._failed:
                output.say(self._text(record))
        elif NOTHING_TO_DO.match(record.getMessage()):
            output.say(self._text(record))
            self._findings += self.found()
        elif event not in SILENT and not ROUTINE.match(record.getMessage()):
            output.say(self._text(record))
        if changed is not None:
            output.update(changed)

    def _text(self, record: logging.LogRecord) -> str:
        return self._own.decorate(record, self._own.format(record))

    def _redraw(self) -> None:
        while not self._ended.wait(SECONDS_A_FRAME):
            # A terminal that has gone away ends no run.
            with contextlib.suppress(OSError, ValueError):
                self.acquire()
                try:
                    if self._output is not None and not self._ended.is_set():
                        self._output.update()
                finally:
                    self.release()

    def close(self) -> None:
        """Called more than once."""
        with contextlib.suppress(OSError, ValueError):
            if not self._ended.is_set() and self._output is not None:
                self._ended.set()
                self._progress.over = True
                self._output.close()
                for finding in self._findings:
                    self._output.say(finding)
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False


def _without_files(record: logging.LogRecord) -> logging.LogRecord:
    """An error without the inputs and outputs of its job, of which one solve may have thousands."""
    short = copy.copy(record)
    if getattr(record, "event", None) == LogEvent.JOB_ERROR:
        short.input, short.output = [], []
    return short
