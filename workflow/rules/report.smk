# Metrics to fits, tables and reports.


rule collect_metrics:
    input:
        metrics_files,
    output:
        report(
            "results/{study}/metrics.parquet",
            caption="../report/metrics.rst",
            category="{study}",
            labels={"content": "every number", "format": "Parquet"},
        ),
        "results/{study}/convergence.parquet",
    log:
        "results/{study}/logs/collect_metrics.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        sizes=section("kernels", "training_sizes", "draws", "solver"),
    shell:
        "neural-kernels --log {log:q} collect-metrics {params.config:q}"


rule report_scaling:
    input:
        "results/{study}/metrics.parquet",
        "results/{study}/convergence.parquet",
    output:
        pdf=report(
            "results/{study}_scaling.pdf",
            caption="../report/scaling.rst",
            category="{study}",
            labels={"content": "scaling laws", "format": "PDF"},
        ),
        figure=report(
            "results/{study}/scaling.png",
            caption="../report/scaling.rst",
            category="{study}",
            labels={"content": "scaling laws", "format": "picture"},
        ),
        fits=report(
            "results/{study}/fits.csv",
            caption="../report/fits.rst",
            category="{study}",
            labels={"content": "exponents", "format": "table"},
        ),
        final=report(
            "results/{study}/final.csv",
            caption="../report/final.rst",
            category="{study}",
            labels={"content": "results at the largest n", "format": "table"},
        ),
    log:
        "results/{study}/logs/report_scaling.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("title", "fit"),
    shell:
        "neural-kernels --log {log:q} report-scaling {params.config:q}"
