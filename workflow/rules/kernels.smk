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
        "neural-kernels --log {log:q} declare-kernel {params.config:q} --kernel {wildcards.kernel:q} --part {wildcards.part:q}"


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
        "neural-kernels --log {log:q} compute-block {params.config:q} --kernel {wildcards.kernel:q} "
        "--part {wildcards.part:q} --block {wildcards.i:q}-{wildcards.j:q} --threads {threads:q}"
