# Kernel regression with infinite-width neural networks, from raw data to a report.
#
#     snakemake --profile default results/<study>_scaling.pdf
#     snakemake --profile default results/<study>_augmentation.pdf      accuracy against the factor
#     snakemake --profile default results/<study>_approximations.pdf    beside the full solution
#     snakemake --profile default results/<study>_tasks.pdf             each task's scores
#     snakemake --profile default results/<study>_tuning.pdf            the search of hyperparameters
#     snakemake --profile default results/<comparison>_splits.pdf       several splits beside published figures
#     snakemake --profile default results/table1.pdf                    what has been run beside what is
#                                                                       published; starts no study
#
# The studies are the files config/<study>.yaml, the comparisons config/comparisons/<comparison>.yaml; the target's name
# picks one. results/<name>.pdf is short for its report of approximations, tasks, augmentation or splits.

from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/planning.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/kernels.smk"
include: "workflow/rules/solve.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/approximations.smk"
include: "workflow/rules/augmentation.smk"
include: "workflow/rules/splits.smk"
include: "workflow/rules/tasks.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/compare.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        "results/demo_scaling.pdf",
