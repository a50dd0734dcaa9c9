# Features to kernel blocks. One job, one file and one unit of retry is one block.

# No parameter of the rule: a block that is finished is what it is, whatever computed it.
REQUIRED = " --require-accelerator" if accelerator_required() else ""


rule declare_kernel:
    input:
        of_wildcards(inputs.features),
    output:
        at(folders.KERNEL),
    log:
        "results/{study}/logs/declare_kernel/{kernel}/{part}.log",
    localrule: SMALL
    conda:
        "../envs/neural-kernels.yaml"
    params:
        config="config/{study}.yaml",
        kernel=of_wildcards(inputs.kernel_settings),
        kept=of_wildcards(inputs.settings("precision", "blocks")),
        sizes=of_wildcards(inputs.settings("training_sizes", "draws")),
    shell:
        "neural-kernels --log {log:q} declare-kernel {params.config:q} --kernel {wildcards.kernel:q} --part {wildcards.part:q}"


rule compute_block:
    input:
        of_wildcards(inputs.new_block),
    output:
        at(folders.BLOCK),
    log:
        "results/{study}/logs/compute_block/{kernel}/{part}/{i}-{j}.log",
    conda:
        "../envs/neural-kernels.yaml"
    resources:
        mem_mb=memory(job_memory.compute_block),
    params:
        config="config/{study}.yaml",
    shell:
        "neural-kernels --log {log:q} compute-block {params.config:q} --kernel {wildcards.kernel:q} "
        "--part {wildcards.part:q} --block {wildcards.i:q}-{wildcards.j:q} --threads {threads:q}"
        + REQUIRED
