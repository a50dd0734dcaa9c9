# Approximations against the full solution. One job is one kernel, method and size.


rule approximate_solution:
    input:
        of_wildcards(inputs.approximation_blocks),
    output:
        at(folders.APPROXIMATION),
    log:
        "results/{study}/logs/approximate_solution/{kernel}/{method}/size{size}.log",
    benchmark:
        "results/{study}/logs/approximate_solution/{kernel}/{method}/size{size}.tsv"
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.solve),
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("solver", "ridge", "seed")),
        approximations=of_wildcards(inputs.approximation_settings),
    shell:
        "neural-kernels --log {log:q} approximate {params.config:q} --kernel {wildcards.kernel:q} "
        "--method {wildcards.method:q} --size {wildcards.size:q} --threads {threads:q}"


rule collect_approximations:
    input:
        of_wildcards(inputs.approximation_files, forced=inputs.deleted_blocks),
    output:
        report(
            at(folders.APPROXIMATIONS),
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="approximations",
            labels={"content": "approximations, every number", "format": "Parquet"},
        ),
    log:
        "results/{study}/logs/collect_approximations.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
    shell:
        "neural-kernels --log {log:q} collect-approximations {params.config:q}"


rule report_approximations:
    input:
        at(folders.APPROXIMATIONS),
    output:
        pdf=report(
            at(folders.report("approximations")),
            caption="../report/approximations.rst",
            category="{study}",
            subcategory="approximations",
            labels={"content": "approximations", "format": "PDF"},
        ),
        figure=report(
            at(folders.figure("approximations")),
            caption="../report/approximations.rst",
            category="{study}",
            subcategory="approximations",
            labels={"content": "approximations", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_approximations.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("title", "ridge", "approximations")),
    shell:
        "neural-kernels --log {log:q} report-approximations {params.config:q}"
