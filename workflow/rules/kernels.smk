# Features to kernel blocks. One job, one file and one unit of retry is one block.


rule declare_kernel:
    input:
        features,
    output:
        "results/{study}/kernels/{kernel}/{part}/kernel.json",
    log:
        "results/{study}/logs/declare_kernel/{kernel}/{part}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        kernel=kernel_section,
        kept=section("precision", "blocks"),
        sizes=section("training_sizes", "draws"),
    shell:
        "neural-kernels --log {log} declare-kernel {params.config} --kernel {wildcards.kernel} --part {wildcards.part}"


rule compute_block:
    input:
        what_a_new_block_needs,
    output:
        "results/{study}/kernels/{kernel}/{part}/blocks/{i}-{j}.npy",
    log:
        "results/{study}/logs/compute_block/{kernel}/{part}/{i}-{j}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log} compute-block {params.config} --kernel {wildcards.kernel} "
        "--part {wildcards.part} --block {wildcards.i}-{wildcards.j} --threads {threads}"
