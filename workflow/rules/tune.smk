# Hyperparameters of an architecture family. One job, one file and one unit of retry is one trial.


rule start_tuning:
    input:
        of_wildcards(inputs.data),
    output:
        at(folders.TUNING_STARTED),
    log:
        "results/{study}/logs/start_tuning.log",
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        identity=of_wildcards(inputs.tuning_identity),
    shell:
        "neural-kernels --log {log:q} start-tuning {params.config:q} --threads {threads:q}"


# The journal, results/<study>/tuning/journal.log, is shared by all trials and so no job's output.
rule run_trial:
    input:
        of_wildcards(inputs.new_trial),
    output:
        at(folders.TRIAL),
    log:
        "results/{study}/logs/run_trial/{trial}.log",
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
    shell:
        "neural-kernels --log {log:q} run-trial {params.config:q} --trial {wildcards.trial:q} --threads {threads:q}"


rule select_tuned:
    input:
        of_wildcards(inputs.trial_files, forced=inputs.deleted_trials),
    output:
        tuned=report(
            at(folders.TUNED),
            caption="../report/tuned.rst",
            category="{study}",
            subcategory="tuning",
            labels={"content": "the best trial", "format": "YAML"},
        ),
        trials=report(
            at(folders.TRIALS),
            caption="../report/trials.rst",
            category="{study}",
            subcategory="tuning",
            labels={"content": "every trial", "format": "table"},
        ),
        selected=at(folders.SELECTED),
    log:
        "results/{study}/logs/select_tuned.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("tuning")),
    shell:
        "neural-kernels --log {log:q} select-tuned {params.config:q}"


rule transfer_trial:
    input:
        at(folders.TUNING_STARTED),
        at(folders.SELECTED),
        of_wildcards(inputs.data),
    output:
        at(folders.TRANSFER),
    log:
        "results/{study}/logs/transfer_trial/{place}.log",
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        examples=of_wildcards(inputs.transfer_examples),
    shell:
        "neural-kernels --log {log:q} transfer-trial {params.config:q} --which {wildcards.place:q} --threads {threads:q}"


# Once, when all trials have ended: nothing that is chosen depends on it.
rule test_tuned:
    input:
        at(folders.TUNING_STARTED),
        at(folders.SELECTED),
        of_wildcards(inputs.data),
    output:
        at(folders.TUNED_TEST),
    log:
        "results/{study}/logs/test_tuned/{candidate}.log",
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        tests=of_wildcards(inputs.tested_sets),
    shell:
        "neural-kernels --log {log:q} test-tuned {params.config:q} --which {wildcards.candidate:q} --threads {threads:q}"


rule report_tuning:
    input:
        of_wildcards(inputs.tuning_results, forced=inputs.deleted_trials),
    output:
        pdf=report(
            at(folders.report("tuning")),
            caption="../report/tuning.rst",
            category="{study}",
            subcategory="tuning",
            labels={"content": "tuning", "format": "PDF"},
        ),
        figure=report(
            at(folders.figure("tuning")),
            caption="../report/tuning.rst",
            category="{study}",
            subcategory="tuning",
            labels={"content": "tuning", "format": "picture"},
        ),
    log:
        "results/{study}/logs/report_tuning.log",
    localrule: True
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        settings=of_wildcards(inputs.settings("title", "tuning")),
    shell:
        "neural-kernels --log {log:q} report-tuning {params.config:q}"
