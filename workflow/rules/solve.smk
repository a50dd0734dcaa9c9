# Kernel blocks to dual coefficients, predictions and metrics.


# Cholesky, with a sweep over ridges, in one process.
rule solve_directly:
    input:
        training_blocks,
    output:
        "results/{study}/solutions/{kernel}/direct/n{n}/solved.json",
    log:
        "results/{study}/logs/solve_directly/{kernel}/n{n}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("solver", "ridge", "draws", "seed"),
    shell:
        "neural-kernels --log {log:q} solve {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q} "
        "--threads {threads:q}"


# Conjugate gradients, in one process or, where the profile sets tasks and the launcher mpi, in several.
rule solve_iteratively:
    input:
        blocks=training_blocks,
        ridge=ridge_source,
    output:
        "results/{study}/solutions/{kernel}/iterative/n{n}/solved.json",
    log:
        "results/{study}/logs/solve_iteratively/{kernel}/n{n}.log",
    conda:
        "../../environment.yml"
    resources:
        mpi="",
        tasks=1,
    params:
        config=config_file,
        settings=section("solver", "ridge", "draws", "seed"),
    shell:
        "launcher={resources.mpi:q}; ${{launcher:+$launcher -n {resources.tasks:q}}} "
        "neural-kernels --log {log:q} solve {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q} "
        "--threads {threads:q} --tasks {resources.tasks:q}"


rule evaluate_predictions:
    input:
        solution=solution,
        blocks=evaluation_blocks,
    output:
        "results/{study}/metrics/{kernel}/n{n}.parquet",
    log:
        "results/{study}/logs/evaluate_predictions/{kernel}/n{n}.log",
    wildcard_constraints:
        study=without_tasks(),
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log:q} evaluate {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q}"
