"""What scikit-learn asks of every estimator."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from neural_kernels import NeuralKernel, NeuralKernelClassifier, NeuralKernelRegressor


def expected_failures(estimator: Any) -> dict[str, str]:
    if getattr(estimator, "kernel", None) != "precomputed":
        return {}
    return {
        "check_decision_proba_consistency": "it gives examples where a kernel matrix is expected",
    }


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [
        NeuralKernelRegressor(),
        NeuralKernelRegressor(kernel="precomputed"),
        NeuralKernelClassifier(),
        NeuralKernelClassifier(kernel="precomputed"),
        NeuralKernel(),
    ],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)
