#!/bin/sh
# Snakemake runs this in the environment that it has made of neural-kernels.yaml: the package and its compiled libraries,
# from the clone that this file lies in, or where it came alone, out of a remote repository, from the package index.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ -f "$root/pyproject.toml" ] && [ -d "$root/src/neural_kernels" ]; then
    python -m pip install --no-deps --no-build-isolation "$root"
else
    python -m pip install --no-deps neural-kernels
fi
