# Raw files to features.


rule prepare_data:
    output:
        at(folders.DATA),
    log:
        "results/{study}/logs/prepare_data.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.prepare_data),
    params:
        config="config/{study}.yaml",
        data=of_wildcards(inputs.settings("data", "seed")),
    shell:
        "neural-kernels --log {log:q} prepare-data {params.config:q}"


rule preprocess_data:
    input:
        at(folders.DATA),
    output:
        at(folders.FEATURES),
    log:
        "results/{study}/logs/preprocess_data/{preprocessing}.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.preprocess_data),
    params:
        config="config/{study}.yaml",
        preprocessing=of_wildcards(inputs.preprocessing_settings),
    shell:
        "neural-kernels --log {log:q} preprocess-data {params.config:q} --preprocessing {wildcards.preprocessing:q}"
