# Approximations against the full solution. One job is one kernel, method and size.


rule approximate_solution:
    input:
        approximation_blocks,
    output:
        "results/{study}/approximations/{kernel}/{method}/size{size}.parquet",
    log:
        "results/{study}/logs/approximate_solution/{kernel}/{method}/size{size}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("solver", "ridge", "seed"),
        approximations=lambda wildcards: {
            key: approximated_study(wildcards.study).plain("approximations")[
                "approximations"
            ][key]
            for key in ("jitter", "draws")
        },
    shell:
        "neural-kernels --log {log:q} approximate {params.config:q} --kernel {wildcards.kernel:q} "
        "--method {wildcards.method:q} --size {wildcards.size:q} --threads {threads:q}"


rule collect_approximations:
    input:
        approximation_files,
    output:
        report(
            "results/{study}/approximations.parquet",
            caption="../report/metrics.rst",
            category="{study}",
            labels={"content": "approximations, every number", "format": "Parquet"},
        ),
    log:
        "results/{study}/logs/collect_approximations.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log:q} collect-approximations {params.config:q}"


rule report_approximations:
    input:
        "results/{study}/approximations.parquet",
    output:
        pdf=report(
            "results/{study}.pdf",
            caption="../report/approximations.rst",
            category="{study}",
            labels={"content": "approximations", "format": "PDF"},
        ),
        figure=report(
            "results/{study}/approximations.png",
            caption="../report/approximations.rst",
            category="{study}",
            labels={"content": "approximations", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_approximations.log",
    wildcard_constraints:
        study=reported_as("approximations"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("title", "ridge", "approximations"),
    shell:
        "neural-kernels --log {log:q} report-approximations {params.config:q}"
