"""Exact kernel regression with infinite-width neural networks, from a laptop to a cluster."""

from importlib.metadata import version

__version__ = version("neural-kernels")
