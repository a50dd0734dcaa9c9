# Metrics to fits, tables and reports.


rule collect_metrics:
    input:
        of_wildcards(inputs.metrics_files, forced=inputs.deleted_blocks),
    output:
        report(
            at(folders.METRICS),
            caption="../report/metrics.rst",
            category="{study}",
            subcategory="every number",
            labels={"content": "every number", "format": "Parquet"},
        ),
        at(folders.CONVERGENCE),
        at(folders.RIDGES),
    log:
        "results/{study}/logs/collect_metrics.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        sizes=of_wildcards(
            inputs.settings("kernels", "training_sizes", "draws", "solver")
        ),
    shell:
        "neural-kernels --log {log:q} collect-metrics {params.config:q}"


rule report_scaling:
    input:
        at(folders.METRICS),
        at(folders.CONVERGENCE),
        at(folders.RIDGES),
        of_wildcards(inputs.learning_curves),
        of_wildcards(inputs.baselines),
    output:
        pdf=report(
            at(folders.report("scaling")),
            caption="../report/scaling.rst",
            category="{study}",
            subcategory="scaling laws",
            labels={"content": "scaling laws", "format": "PDF"},
        ),
        figure=report(
            at(folders.figure("scaling")),
            caption="../report/scaling.rst",
            category="{study}",
            subcategory="scaling laws",
            labels={"content": "scaling laws", "format": "picture"},
        ),
        fits=report(
            at(folders.FITS),
            caption="../report/fits.rst",
            category="{study}",
            subcategory="scaling laws",
            labels={"content": "exponents", "format": "table"},
        ),
        final=report(
            at(folders.FINAL),
            caption="../report/final.rst",
            category="{study}",
            subcategory="scaling laws",
            labels={"content": "results at the largest n", "format": "table"},
        ),
        predicted=report(
            at(folders.PREDICTED),
            caption="../report/learning_curves.rst",
            category="{study}",
            subcategory="scaling laws",
            labels={"content": "predicted learning curves", "format": "table"},
        ),
    log:
        "results/{study}/logs/report_scaling.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("title", "fit")),
    shell:
        "neural-kernels --log {log:q} report-scaling {params.config:q}"


# The short name of a report: what results/<name>.pdf is follows from what the study, or comparison, says.
rule copy_report:
    input:
        of_wildcards(inputs.long_report),
    output:
        at(folders.SHORT_REPORT),
    log:
        "results/{reported}/logs/copy_report.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    shell:
        "cp {input:q} {output:q} 2> {log:q}"
