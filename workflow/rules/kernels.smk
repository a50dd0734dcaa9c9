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


# A block is not computed again because a file it reads has a newer date: whether it belongs to the
# data and the architecture is decided by its fingerprint, when it is used. Hence ancient().
rule compute_block:
    input:
        features=ancient(features),
        kernel=ancient("results/{study}/kernels/{kernel}/{part}/kernel.json"),
        same=ancient(same_block_of),
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
