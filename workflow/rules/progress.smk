# What a run says of itself: its stages as it starts, which the logger "stages" shows, and in its last line where the report
# is and what it found. Neither is said by a dry run, by jobs, or where this workflow is a module of another one.

from snakemake.logging import logger

from neural_kernels.stages import findings, run_stages


def found() -> list[str]:
    """The reports that were asked for, a sentence each."""
    said = (findings.of_target(target, CONFIG) for target in TARGETS)
    return [sentence for sentence in said if sentence is not None]


# Of a study that is finished already Snakemake calls no hook: the logger asks.
if workflow.modifier.is_main_snakefile():
    for handler in workflow.logger_manager.get_log_handlers():
        handler.found = found


onstart:
    if workflow.logger_manager.get_log_handlers():
        jobs = [
            (job.rule.name, job.wildcards_dict, workflow.dag.jobid(job))
            for job in workflow.dag.needrun_jobs()
        ]
        stages = run_stages.grouped(jobs, study)
        logger.info(run_stages.counted(stages), extra={"stages": stages})


onsuccess:
    for sentence in found():
        logger.info(sentence, extra={"finding": True})
