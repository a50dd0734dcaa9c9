# Metrics and the scores of each task to their report, in studies with the section tasks.


rule report_tasks:
    input:
        of_wildcards(inputs.tasks_files, forced=inputs.unscored_metrics),
    output:
        pdf=report(
            at(folders.report("tasks")),
            caption="../report/tasks.rst",
            category="{study}",
            subcategory="tasks",
            labels={"content": "each task", "format": "PDF"},
        ),
        figure=report(
            at(folders.figure("tasks")),
            caption="../report/tasks.rst",
            category="{study}",
            subcategory="tasks",
            labels={"content": "each task", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_tasks.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("title", "tasks", "ridge")),
    shell:
        "neural-kernels --log {log:q} report-tasks {params.config:q}"
