# What planning a study of tens of thousands of jobs takes, and what a dry run prints; benchmarks/dry_run.py measures it.

import gc

import snakemake.logging
from snakemake.settings.enums import Quietness

# Jobs and their files are millions of objects that stay: Python is not to look through them for garbage again and again.
gc.set_threshold(1_000_000, 50, 1_000)

# A quiet dry run is to print how many jobs each rule has. Snakemake 9.27 takes that for progress and prints nothing.
if workflow.output_settings.dryrun:
    for handler in snakemake.logging.logger.handlers:
        for kept in (kept for kept in handler.filters if hasattr(kept, "quiet")):
            kept.quiet = set(kept.quiet or ()) - {Quietness.PROGRESS}
