# Kernel blocks to dual coefficients, predictions and metrics.


rule solve_system:
    input:
        blocks=training_blocks,
        ridge=ridge_source,
    output:
        "results/{study}/solutions/{kernel}/n{n}/solved.json",
    log:
        "results/{study}/logs/solve_system/{kernel}/n{n}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
        settings=section("solver", "ridge", "draws", "seed"),
    shell:
        "neural-kernels --log {log} solve {params.config} --kernel {wildcards.kernel} --size {wildcards.n} "
        "--threads {threads}"


rule evaluate_predictions:
    input:
        solution="results/{study}/solutions/{kernel}/n{n}/solved.json",
        validation=validation_blocks,
        tests=test_blocks,
    output:
        "results/{study}/metrics/{kernel}/n{n}.parquet",
    log:
        "results/{study}/logs/evaluate_predictions/{kernel}/n{n}.log",
    conda:
        "../../environment.yml"
    params:
        config=config_file,
    shell:
        "neural-kernels --log {log} evaluate {params.config} --kernel {wildcards.kernel} --size {wildcards.n}"
