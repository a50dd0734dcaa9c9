# Predictions of test sets, and the report that compares the studies of several splits.


rule predict_tests:
    input:
        solution=of_wildcards(inputs.solved_with),
        blocks=of_wildcards(inputs.evaluation_blocks),
    output:
        at(folders.TEST_PREDICTIONS),
    log:
        "results/{study}/logs/predict_tests/{kernel}/n{n}.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.evaluate_predictions),
    params:
        config="config/{study}.yaml",
    shell:
        "neural-kernels --log {log:q} predict-tests {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q}"


rule report_splits:
    input:
        of_wildcards(inputs.split_files),
    output:
        pdf=report(
            at(folders.SPLITS_REPORT),
            caption="../report/splits.rst",
            category="{comparison}",
            subcategory="splits",
            labels={"content": "splits", "format": "PDF"},
        ),
        figure=report(
            at(folders.SPLITS_FIGURE),
            caption="../report/splits.rst",
            category="{comparison}",
            subcategory="splits",
            labels={"content": "predicted against measured", "format": "picture"},
        ),
        table=report(
            at(folders.SPLITS_TABLE),
            caption="../report/splits.rst",
            category="{comparison}",
            subcategory="splits",
            labels={"content": "every kernel on every split", "format": "table"},
        ),
    log:
        "results/{comparison}/logs/report_splits.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/comparisons/{comparison}.yaml",
        published=of_wildcards(inputs.published),
    shell:
        "neural-kernels --log {log:q} report-splits {params.config:q}"
