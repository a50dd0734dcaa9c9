# Metrics of augmented training sets to their report.


rule report_augmentation:
    input:
        augmentation_files,
    output:
        pdf=report(
            "results/{study}.pdf",
            caption="../report/augmentation.rst",
            category="{study}",
            labels={"content": "data augmentation", "format": "PDF"},
        ),
        figure=report(
            "results/{study}/augmentation.png",
            caption="../report/augmentation.rst",
            category="{study}",
            labels={"content": "data augmentation", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_augmentation.log",
    wildcard_constraints:
        study=reported_as("augmentation"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("title", "ridge"),
    shell:
        "neural-kernels --log {log:q} report-augmentation {params.config:q}"
