# Metrics of augmented training sets to their report.


rule report_augmentation:
    input:
        of_wildcards(inputs.augmentation_files),
    output:
        pdf=report(
            at(folders.report("augmentation")),
            caption="../report/augmentation.rst",
            category="{study}",
            subcategory="augmentation",
            labels={"content": "data augmentation", "format": "PDF"},
        ),
        figure=report(
            at(folders.figure("augmentation")),
            caption="../report/augmentation.rst",
            category="{study}",
            subcategory="augmentation",
            labels={"content": "data augmentation", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_augmentation.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("title", "ridge")),
    shell:
        "neural-kernels --log {log:q} report-augmentation {params.config:q}"
