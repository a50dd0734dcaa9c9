# The training sizes of a kernel that take seconds: one job solves them, and one evaluates them. Each has the files that a
# job of its own, in solve.smk, would make; what these rules declare vouches for them, since outputs are no functions.


rule solve_small_sizes:
    input:
        of_wildcards(inputs.small_training_blocks, forced=inputs.unsolved_small_sizes),
    output:
        at(folders.SMALL_SOLVED),
    log:
        "results/{study}/logs/solve_small_sizes/{kernel}.log",
    benchmark:
        "results/{study}/logs/solve_small_sizes/{kernel}.tsv"
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.solve),
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("solver", "ridge", "draws", "seed")),
        draws=of_wildcards(inputs.small_draws),
    shell:
        "neural-kernels --log {log:q} solve-small-sizes {params.config:q} --kernel {wildcards.kernel:q} "
        "--threads {threads:q}"


rule evaluate_small_sizes:
    input:
        of_wildcards(
            inputs.small_evaluation_blocks, forced=inputs.unevaluated_small_sizes
        ),
        solved=of_wildcards(inputs.small_solved),
    output:
        at(folders.SMALL_EVALUATED),
    log:
        "results/{study}/logs/evaluate_small_sizes/{kernel}.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.evaluate_small_sizes),
    params:
        config="config/{study}.yaml",
    shell:
        "neural-kernels --log {log:q} evaluate-small-sizes {params.config:q} --kernel {wildcards.kernel:q}"
