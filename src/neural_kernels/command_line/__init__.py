"""The command line ``neural-kernels``: its verbs, their options, and what these may be."""
