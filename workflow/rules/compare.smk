# Tables of what has been run beside what is published, over several studies.


rule report_comparison:
    input:
        table="config/tables/{table}.yaml",
        metrics=compared_metrics,
    output:
        pdf=report(
            "results/{table}.pdf",
            caption="../report/comparison.rst",
            category="comparisons",
            labels={"content": "{table}", "format": "PDF"},
        ),
        markdown="results/{table}.md",
    log:
        "results/logs/report_comparison/{table}.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        # A study whose results were deleted leaves the table too.
        studies=compared_metrics,
    shell:
        "neural-kernels --log {log:q} report-comparison {input.table:q}"
