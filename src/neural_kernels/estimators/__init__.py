"""Estimators for scikit-learn: ``fit``, ``predict`` and all that is built upon them.

``examples`` reads what is given, ``defaults`` says what suits it, ``features`` gives kernel entries, ``training``
solves in memory or from a folder; ``regressor``, ``classifier`` and ``kernel`` are what people import.
"""

from neural_kernels.estimators.classifier import NeuralKernelClassifier
from neural_kernels.estimators.kernel import NeuralKernel
from neural_kernels.estimators.regressor import NeuralKernelRegressor

__all__ = ["NeuralKernel", "NeuralKernelClassifier", "NeuralKernelRegressor"]
