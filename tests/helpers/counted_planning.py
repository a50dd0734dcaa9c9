"""Snakemake with the arguments of this program; at its end, how often it parsed each YAML text, as JSON."""

import atexit
import collections
import json
import sys

import yaml
from snakemake.cli import main

from neural_kernels.storage import strict_yaml

counts: collections.Counter[str] = collections.Counter()
compose = yaml.compose


def counted(text, loader):
    counts[text] += 1
    return compose(text, loader)


strict_yaml.yaml.compose = counted
atexit.register(lambda: print("PARSES", json.dumps(counts)))
main(sys.argv[1:])
