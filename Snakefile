# The workflow is workflow/Snakefile, where Snakemake's catalog looks for it. An include's first rule is not the default.
include: "workflow/Snakefile"


workflow.default_target = "all"
