# Kernel blocks to dual coefficients, predictions and metrics.


# Cholesky, with a sweep over ridges, in one process.
rule solve_directly:
    input:
        of_wildcards(inputs.training_blocks),
    output:
        at(folders.SOLVED, method="direct"),
    log:
        "results/{study}/logs/solve_directly/{kernel}/n{n}.log",
    benchmark:
        "results/{study}/logs/solve_directly/{kernel}/n{n}.tsv"
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.solve),
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("solver", "ridge", "draws", "seed")),
    shell:
        "neural-kernels --log {log:q} solve {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q} "
        "--threads {threads:q}"


# Where a profile gives a launcher, its processes belong on the cluster's nodes, however small the study.
ON_SEVERAL_NODES = "mpi" in workflow.resource_settings.overwrite_resources.get(
    "solve_iteratively", {}
)


# Conjugate gradients, in one process or, where the profile sets tasks and the launcher mpi, in several.
rule solve_iteratively:
    input:
        of_wildcards(inputs.training_blocks),
    output:
        at(folders.SOLVED, method="iterative"),
    log:
        "results/{study}/logs/solve_iteratively/{kernel}/n{n}.log",
    benchmark:
        "results/{study}/logs/solve_iteratively/{kernel}/n{n}.tsv"
    localrule: SMALL and not ON_SEVERAL_NODES
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.solve),
        mpi="",
        tasks=1,
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("solver", "ridge", "draws", "seed")),
    shell:
        "launcher={resources.mpi:q}; ${{launcher:+$launcher -n {resources.tasks:q}}} "
        "neural-kernels --log {log:q} solve {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q} "
        "--threads {threads:q} --tasks {resources.tasks:q}"


# Eigenvalues of the kernel matrix of the largest size that is solved directly.
rule predict_learning_curve:
    input:
        of_wildcards(inputs.learning_curve_blocks),
    output:
        at(folders.LEARNING_CURVE),
    log:
        "results/{study}/logs/predict_learning_curve/{kernel}.log",
    benchmark:
        "results/{study}/logs/predict_learning_curve/{kernel}.tsv"
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.solve),
    params:
        config="config/{study}.yaml",
        sizes=of_wildcards(inputs.settings("kernels", "training_sizes", "draws")),
    shell:
        "neural-kernels --log {log:q} predict-learning-curve {params.config:q} --kernel {wildcards.kernel:q} "
        "--threads {threads:q}"


# In a study with the section tasks, the scores of each task are written beside the metrics.
rule evaluate_predictions:
    input:
        solution=of_wildcards(inputs.solution),
        blocks=of_wildcards(inputs.evaluation_blocks),
    output:
        at(folders.METRICS_OF_SIZE),
    log:
        "results/{study}/logs/evaluate_predictions/{kernel}/n{n}.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.evaluate_predictions),
    params:
        config="config/{study}.yaml",
    shell:
        "neural-kernels --log {log:q} evaluate {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q}"
