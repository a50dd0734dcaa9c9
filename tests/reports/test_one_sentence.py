"""What a report found in one sentence: the kernel of the lowest loss, its scores and its exponent."""

from __future__ import annotations

import re

from studies import a_study, exponent, metrics

from neural_kernels.reports import one_sentence

SIZES = [2**k for k in range(6, 13)]
STUDY = a_study({"FC3": None, "CV8": None})


def test_the_kernel_of_the_lowest_loss_has_its_score_and_its_exponent() -> None:
    table = metrics(["FC3", "CV8"], ["cifar10", "cifar10_1"], SIZES, draws=4)
    said = one_sentence.of_scaling(table, STUDY)
    head, falls = said.split("; ")
    assert re.fullmatch(
        r"CV8 NTK has the lowest loss of 2 kernels, at n = 4,096: accuracy \d+\.\d %, loss 0\.\d+ on CIFAR-10",
        head,
    ), head
    found = re.fullmatch(r"the loss falls as n\^-(\d\.\d+) \[(\d\.\d+), (\d\.\d+)\]", falls)
    assert found, falls
    alpha, low, high = map(float, found.groups())
    assert low <= alpha <= high
    assert abs(alpha - exponent(1, 0)) < 0.02


def test_a_regression_and_a_solve_that_did_not_converge_are_said() -> None:
    table = metrics(["FC3"], ["mine"], SIZES[:2], regression=True, unconverged=(("FC3", 128),))
    said = one_sentence.of_scaling(table, a_study({"FC3": None}))
    assert said.startswith("FC3 NTK at n = 128 (not converged): Spearman correlation 0.")
    assert said.endswith(" on mine; no exponent")
    assert one_sentence.of_scores(table, a_study({"FC3": None})) == said.split(";")[0]
