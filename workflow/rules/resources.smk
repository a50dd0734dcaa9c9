# Memory of jobs, which follows from the study; neural_kernels.stages.job_memory has the figures. A profile's set-resources
# replaces them, and its config value node_memory_mb bounds them.

from neural_kernels.stages import job_memory

try:
    NODE_MEMORY = job_memory.node_memory(config.get("node_memory_mb"))
except UserError as error:
    stop(error)


def memory(function: Callable) -> Callable:
    """The resource mem_mb of a rule, from a function of ``job_memory``."""
    needed = of_wildcards(function)

    def of_job(wildcards, attempt):
        return job_memory.of_attempt(needed(wildcards), attempt, NODE_MEMORY)

    return of_job
