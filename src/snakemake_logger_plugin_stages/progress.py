"""How far each stage of a run is: what Snakemake's events say of jobs, counted by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Stage:
    """Jobs that people see as one thing; times are of one clock, in seconds.

    Attributes:
        total: jobs to run.
        started: when its first job was, None before.
        last: when its last job so far ended.
        failed: jobs that failed and have not been made good by another attempt.
    """

    name: str
    total: int
    done: int = 0
    started: float | None = None
    last: float | None = None
    failed: set[int] = field(default_factory=set)

    @property
    def finished(self) -> bool:
        return self.done >= self.total

    def seconds(self, now: float) -> float:
        """From its first job to its end, or to now."""
        if self.started is None:
            return 0.0
        return (self.last if self.finished and self.last is not None else now) - self.started

    def seconds_left(self, now: float) -> float | None:
        """At the pace of its jobs so far, None before the first has ended."""
        if not self.done or self.finished or self.started is None or self.last is None:
            return None
        pace = (self.last - self.started) / self.done
        return max(0.0, pace * (self.total - self.done) - (now - self.last))


class Progress:
    """All stages of a run, in the order in which they are shown."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._of_job: dict[int, str] = {}
        self.whole = Stage("all", 0)
        self.over = False
        """Whether the run has ended, so that nothing is left to wait for."""

    def plan_rules(self, counts: Mapping[str, int]) -> None:
        """A stage a rule, for a workflow that does not say what its stages are."""
        self.stages = {rule: Stage(rule.replace("_", " "), count) for rule, count in counts.items()}
        self._of_job = {}
        self.whole = Stage("all", sum(counts.values()))

    def plan_stages(self, jobs: Mapping[str, Iterable[int]]) -> None:
        """The stages that a workflow named, with the numbers of their jobs."""
        self._of_job = {job: name for name, ids in jobs.items() for job in ids}
        counts = {name: len(list(ids)) for name, ids in jobs.items()}
        self.stages = {name: Stage(name, count) for name, count in counts.items()}
        self.whole = Stage("all", sum(counts.values()))

    def start(self, job: int, rule: str, now: float) -> Stage:
        """A job starts, or starts again."""
        name = self._of_job.setdefault(job, rule)
        stage = self.stages.setdefault(name, Stage(name.replace("_", " "), 1))
        for counted in (stage, self.whole):
            counted.started = now if counted.started is None else counted.started
        return stage

    def finish(self, job: int, now: float) -> Stage | None:
        """A job has ended well; None for one that never started."""
        return self._end(job, now, failed=False)

    def fail(self, job: int, now: float) -> Stage | None:
        """An attempt of a job has failed; None for one that never started."""
        return self._end(job, now, failed=True)

    def _end(self, job: int, now: float, failed: bool) -> Stage | None:
        stage = self.stages.get(self._of_job.get(job, ""))
        if stage is None:
            return None
        for counted in (stage, self.whole):
            counted.failed.discard(job)
            if failed:
                counted.failed.add(job)
            else:
                counted.done, counted.last = counted.done + 1, now
        return stage
