# Raw files to features.


rule prepare_data:
    output:
        "results/{study}/data/data.json",
    log:
        "results/{study}/logs/prepare_data.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        data=section("data", "seed"),
    shell:
        "neural-kernels --log {log:q} prepare-data {params.config:q}"


rule preprocess_data:
    input:
        "results/{study}/data/data.json",
    output:
        "results/{study}/features/{preprocessing}/features.json",
    log:
        "results/{study}/logs/preprocess_data/{preprocessing}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        preprocessing=lambda wildcards: study(wildcards.study)
        .plain("preprocessing")["preprocessing"]
        .get(wildcards.preprocessing),
    shell:
        "neural-kernels --log {log:q} preprocess-data {params.config:q} --preprocessing {wildcards.preprocessing:q}"
