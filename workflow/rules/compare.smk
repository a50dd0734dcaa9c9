# Tables of what has been run beside what is published, over several studies.


rule report_comparison:
    input:
        table="config/tables/{table}.yaml",
        metrics=of_wildcards(inputs.compared_metrics),
    output:
        pdf=report(
            at(folders.TABLE_REPORT),
            caption="../report/comparison.rst",
            category="comparisons",
            subcategory="what was run beside what is published",
            labels={"content": "{table}", "format": "PDF"},
        ),
        markdown=at(folders.TABLE_TEXT),
    log:
        "results/logs/report_comparison/{table}.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        studies=of_wildcards(inputs.compared_studies),
    shell:
        "neural-kernels --log {log:q} report-comparison {input.table:q}"
