"""Stages as text: a row with a bar for a terminal, a line for a file."""

from __future__ import annotations

from collections.abc import Iterable

from snakemake_logger_plugin_stages.progress import Progress, Stage

LONGEST_NAME = 36
WIDEST_BAR, NARROWEST_BAR = 30, 8
FILLED, EMPTY = "\N{FULL BLOCK}", "\N{LIGHT SHADE}"


def rows(progress: Progress, now: float, columns: int, lines: int, encoding: str) -> list[str]:
    """A row a stage and one for all of them, in a terminal of so many columns and lines.

    Where there is no room for every stage, those that have ended go first, then those that come last.
    """
    room = max(1, lines - 4)
    shown = list(progress.stages.values())
    while len(shown) > room:
        ended = [stage for stage in shown if stage.finished]
        shown.remove(ended[0] if ended else shown[-1])
    hidden = len(progress.stages) - len(shown)
    table = [*shown, *([progress.whole] if len(progress.stages) > 1 else [])]
    width = min(max((len(stage.name) for stage in table), default=0), LONGEST_NAME)
    counts = max((len(_count(stage)) for stage in table), default=0)
    bar = min(WIDEST_BAR, max(NARROWEST_BAR, columns - width - counts - 36))
    filled, empty = (FILLED, EMPTY) if encoding.lower().startswith("utf") else ("#", ".")
    found = []
    for stage in table:
        full = int(bar * _share(stage))
        drawn = filled * full + empty * (bar - full)
        name = stage.name if len(stage.name) <= width else stage.name[: width - 3] + "..."
        row = f"{name:{width}} {drawn} {_percent(stage):>5}  {_count(stage):>{counts}}  {_time(stage, progress, now)}"
        found.append(row.rstrip()[: max(1, columns - 1)])
    if hidden and len(found) < lines - 1:
        found.insert(0, f"({hidden} more stages)"[: max(1, columns - 1)])
    return found


def line(stage: Stage, progress: Progress, now: float) -> str:
    """One stage's line in a file."""
    if not stage.done and not stage.failed:
        return f"{stage.name}: {stage.total:,} job{'s' if stage.total > 1 else ''}"
    parts = [f"{_count(stage)} jobs", _percent(stage), _time(stage, progress, now)]
    return f"{stage.name}: {', '.join(filter(None, parts))}"


def _share(stage: Stage) -> float:
    return stage.done / stage.total if stage.total else 1.0


def _percent(stage: Stage) -> str:
    # 100 % is said of what has ended alone.
    return f"{int(100 * _share(stage))} %"


def _count(stage: Stage) -> str:
    return f"{stage.done:,} of {stage.total:,}"


def _time(stage: Stage, progress: Progress, now: float) -> str:
    return ", ".join(_times(stage, progress, now))


def _times(stage: Stage, progress: Progress, now: float) -> Iterable[str]:
    if stage.failed:
        yield f"{len(stage.failed):,} failed"
    left = stage.seconds_left(now)
    if stage.finished:
        yield f"in {duration(stage.seconds(now))}"
    elif progress.over and stage is not progress.whole:
        return
    elif stage is progress.whole:
        # Its jobs take from milliseconds to hours: what is left does not follow from those that ended.
        yield f"for {duration(stage.seconds(now))}"
    elif left:
        yield f"about {duration(left)} left"
    elif stage.started is not None:
        yield f"for {duration(stage.seconds(now))}"


def duration(seconds: float) -> str:
    """As people say it, in two units at most."""
    whole = round(seconds)
    for unit, small, of_unit, of_small in (
        ("d", "h", 86400, 3600),
        ("h", "min", 3600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= of_unit:
            rest = whole % of_unit // of_small
            return f"{whole // of_unit} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
