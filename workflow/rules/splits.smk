# Predictions of test sets, and the report that compares the studies of several splits.


rule predict_tests:
    input:
        solution=solution,
        blocks=evaluation_blocks,
    output:
        "results/{study}/test_predictions/{kernel}/n{n}.parquet",
    log:
        "results/{study}/logs/predict_tests/{kernel}/n{n}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log:q} predict-tests {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q}"


rule report_splits:
    input:
        split_files,
    output:
        pdf=report(
            "results/{study}.pdf",
            caption="../report/splits.rst",
            category="{study}",
            labels={"content": "splits", "format": "PDF"},
        ),
        figure=report(
            "results/{study}/splits.png",
            caption="../report/splits.rst",
            category="{study}",
            labels={"content": "predicted against measured", "format": "picture"},
        ),
        table=report(
            "results/{study}/splits.csv",
            caption="../report/splits.rst",
            category="{study}",
            labels={"content": "every kernel on every split", "format": "table"},
        ),
    log:
        "results/{study}/logs/report_splits.log",
    wildcard_constraints:
        study=reported_as("splits"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        published=published,
    shell:
        "neural-kernels --log {log:q} report-splits {params.config:q}"
