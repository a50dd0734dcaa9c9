# Memory of jobs, which follows from the study; neural_kernels.stages.job_memory has the figures. A profile's set-resources
# replaces them, and its config value node_memory_mb bounds them. And which jobs are not worth being submitted.

from neural_kernels.stages import job_memory, local_work
from neural_kernels.stages.targets import studies_of_target

# What was asked for.
TARGETS = [word for word in sys.argv[1:] if "results/" in word] or [
    config.get("target", DEFAULT_TARGET)
]

try:
    NODE_MEMORY = job_memory.node_memory(config.get("node_memory_mb"))
except UserError as error:
    stop(error)


def accelerator_required() -> bool:
    """Whether a profile asks for blocks on a GPU or TPU or not at all."""
    if config.get("accelerator") not in (None, "required"):
        stop(
            UserError(
                f"config: accelerator is {config['accelerator']!r}, expected required, or to be left out"
            )
        )
    return config.get("accelerator") == "required"


def memory(function: Callable) -> Callable:
    """The resource mem_mb of a rule, from a function of ``job_memory``."""
    needed = of_wildcards(function)

    def of_job(wildcards, attempt):
        return job_memory.of_attempt(needed(wildcards), attempt, NODE_MEMORY)

    return of_job


def small() -> bool:
    """Whether the studies that were asked for take so little beside their blocks that it is done where Snakemake runs.

    What is local is so for all jobs of a rule, and is decided once, by the targets.
    """
    if not workflow.is_main_process:
        return False
    try:
        limit = local_work.local_seconds(config.get("local_seconds"))
        asked = {
            name for target in TARGETS for name in studies_of_target(target, CONFIG)
        }
        return local_work.all_small(map(study, sorted(asked)), limit)
    except UserError as error:
        stop(error)


SMALL = small()
