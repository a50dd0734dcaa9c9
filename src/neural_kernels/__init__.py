"""Exact kernel regression with infinite-width neural networks, from a laptop to a cluster."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from neural_kernels import architectures as architectures
    from neural_kernels.engines import kernel_matrix as kernel_matrix
    from neural_kernels.estimators import NeuralKernel as NeuralKernel
    from neural_kernels.estimators import NeuralKernelClassifier as NeuralKernelClassifier
    from neural_kernels.estimators import NeuralKernelRegressor as NeuralKernelRegressor
    from neural_kernels.graphs import Graphs as Graphs

# Where each lies, imported when it is asked for: a job of a cluster is not to load what only people use.
_EXPORTED = {
    "Graphs": "neural_kernels.graphs",
    "NeuralKernel": "neural_kernels.estimators",
    "NeuralKernelClassifier": "neural_kernels.estimators",
    "NeuralKernelRegressor": "neural_kernels.estimators",
    "kernel_matrix": "neural_kernels.engines",
}
__all__ = [
    "Graphs",
    "NeuralKernel",
    "NeuralKernelClassifier",
    "NeuralKernelRegressor",
    "architectures",
    "kernel_matrix",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("neural-kernels")
    if name == "architectures":
        return import_module("neural_kernels.architectures")
    if name in _EXPORTED:
        return getattr(import_module(_EXPORTED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
