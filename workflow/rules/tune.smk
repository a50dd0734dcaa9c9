# Hyperparameters of an architecture family. One job, one file and one unit of retry is one trial.


rule start_tuning:
    input:
        tuning_data,
    output:
        "results/{study}/tuning/started.json",
    log:
        "results/{study}/logs/start_tuning.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        identity=lambda wildcards: tuning(wildcards.study).identity,
    shell:
        "neural-kernels --log {log:q} start-tuning {params.config:q} --threads {threads:q}"


# The journal, results/<study>/tuning/journal.log, is shared by all trials and so no job's output.
rule run_trial:
    input:
        what_a_new_trial_needs,
    output:
        "results/{study}/tuning/trials/{trial}.json",
    log:
        "results/{study}/logs/run_trial/{trial}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log:q} run-trial {params.config:q} --trial {wildcards.trial:q} --threads {threads:q}"


rule select_tuned:
    input:
        trial_files,
    output:
        tuned=report(
            "results/{study}/tuned.yaml",
            caption="../report/tuned.rst",
            category="{study}",
            labels={"content": "the best trial", "format": "YAML"},
        ),
        trials=report(
            "results/{study}/tuning/trials.csv",
            caption="../report/trials.rst",
            category="{study}",
            labels={"content": "every trial", "format": "table"},
        ),
        selected="results/{study}/tuning/selected.json",
    log:
        "results/{study}/logs/select_tuned.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("tuning"),
    shell:
        "neural-kernels --log {log:q} select-tuned {params.config:q}"


rule transfer_trial:
    input:
        "results/{study}/tuning/started.json",
        "results/{study}/tuning/selected.json",
        tuning_data,
    output:
        "results/{study}/tuning/transfer/{place}.json",
    log:
        "results/{study}/logs/transfer_trial/{place}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        examples=transfer_examples,
    shell:
        "neural-kernels --log {log:q} transfer-trial {params.config:q} --which {wildcards.place:q} --threads {threads:q}"


# Once, when all trials have ended: nothing that is chosen depends on it.
rule test_tuned:
    input:
        "results/{study}/tuning/started.json",
        "results/{study}/tuning/selected.json",
        tuning_data,
    output:
        "results/{study}/tuning/test/{candidate}.json",
    log:
        "results/{study}/logs/test_tuned/{candidate}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        tests=lambda wildcards: study(wildcards.study).data.plain()["test_sets"],
    shell:
        "neural-kernels --log {log:q} test-tuned {params.config:q} --which {wildcards.candidate:q} --threads {threads:q}"


rule report_tuning:
    input:
        tuning_results,
    output:
        pdf=report(
            "results/{study}_tuning.pdf",
            caption="../report/tuning.rst",
            category="{study}",
            labels={"content": "tuning", "format": "PDF"},
        ),
        figure=report(
            "results/{study}/tuning/history.png",
            caption="../report/tuning.rst",
            category="{study}",
            labels={"content": "tuning", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_tuning.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("title", "tuning"),
    shell:
        "neural-kernels --log {log:q} report-tuning {params.config:q}"
