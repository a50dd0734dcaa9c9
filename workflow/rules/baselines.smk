# Simple methods on the same training examples and test sets, for the reports.


rule fit_baselines:
    input:
        of_wildcards(inputs.baseline_files),
    output:
        at(folders.BASELINES),
        at(folders.BASELINE_EXAMPLES),
        at(folders.NAMES),
    log:
        "results/{study}/logs/fit_baselines.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.fit_baselines),
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("baselines", "training_sizes", "kernels")),
    shell:
        "neural-kernels --log {log:q} fit-baselines {params.config:q} --threads {threads:q}"
