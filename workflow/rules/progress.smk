# What a run says of itself: its stages as it starts, which the logger "stages" shows, and in its last line where the report
# is and what it found. Neither is said by a dry run, by jobs, or where this workflow is a module of another one.

from snakemake.logging import logger

from neural_kernels.stages import findings, run_stages


onstart:
    if workflow.logger_manager.get_log_handlers():
        jobs = [
            (job.rule.name, job.wildcards_dict, workflow.dag.jobid(job))
            for job in workflow.dag.needrun_jobs()
        ]
        stages = run_stages.grouped(jobs, study)
        logger.info(run_stages.counted(stages), extra={"stages": stages})


onsuccess:
    for target in TARGETS:
        found = findings.of_target(target, CONFIG)
        if found is not None:
            logger.info(found, extra={"finding": True})
