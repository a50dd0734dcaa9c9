# Solutions to the scores of each task, and their report, in studies with the section tasks.


rule evaluate_tasks:
    input:
        solution=solution,
        blocks=evaluation_blocks,
    output:
        "results/{study}/metrics/{kernel}/n{n}.parquet",
        "results/{study}/metrics/{kernel}/n{n}.tasks.parquet",
    log:
        "results/{study}/logs/evaluate_tasks/{kernel}/n{n}.log",
    wildcard_constraints:
        study=reported_as("tasks"),
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log:q} evaluate {params.config:q} --kernel {wildcards.kernel:q} --size {wildcards.n:q}"


rule report_tasks:
    input:
        tasks_files,
    output:
        pdf=report(
            "results/{study}.pdf",
            caption="../report/tasks.rst",
            category="{study}",
            labels={"content": "each task", "format": "PDF"},
        ),
        figure=report(
            "results/{study}/tasks.png",
            caption="../report/tasks.rst",
            category="{study}",
            labels={"content": "each task", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_tasks.log",
    wildcard_constraints:
        study=reported_as("tasks"),
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("title", "tasks", "ridge"),
    shell:
        "neural-kernels --log {log:q} report-tasks {params.config:q}"
