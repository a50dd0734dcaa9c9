"""Snakemake with the arguments of this program; at its end, how often it parsed each YAML text, and how many jobs of
each rule it would submit, as JSON."""

from __future__ import annotations

import atexit
import collections
import json
import sys
from typing import Any

import yaml
from snakemake.cli import main
from snakemake.workflow import Workflow

counts: collections.Counter[str] = collections.Counter()
compose = yaml.compose


def counted(text: Any, loader: Any) -> Any:
    counts[text] += 1
    return compose(text, loader)


def kept_workflow(self: Any, *arguments: Any, **options: Any) -> Any:
    found = execute(self, *arguments, **options)
    # A dry run executes everything here, and has finished it all.
    names = (job.rule.name for job in self.dag.needrun_jobs(exclude_finished=False) if not job.rule.norun)
    submitted.update(name for name in names if name not in self._localrules)
    return found


submitted: collections.Counter[str] = collections.Counter()
execute = Workflow.execute
Workflow.execute = kept_workflow
yaml.compose = counted  # type: ignore[assignment]
atexit.register(lambda: print("PARSES", json.dumps(counts)))
atexit.register(lambda: print("SUBMITTED", json.dumps(submitted)))
main(sys.argv[1:])
