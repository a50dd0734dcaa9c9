#!/bin/bash
# properties = {properties}
# Leaves the job's exit status where status.py looks for it; a job that is killed as a whole leaves none.
cd "${{PBS_O_WORKDIR:-$SGE_O_WORKDIR}}" || exit
left=".snakemake/pbs/exit/${{PBS_JOBID:-$JOB_ID}}"
mkdir -p .snakemake/pbs/exit && rm -f "$left" "$left.gone" || exit
( {exec_job} )
status=$?
echo "$status" >"$left.new" && mv "$left.new" "$left"
exit "$status"
