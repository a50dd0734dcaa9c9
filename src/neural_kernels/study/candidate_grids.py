"""What a ridge or a jitter is chosen from: a logarithmic grid, or the candidates themselves."""

import functools
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from neural_kernels.metrics.objective_names import ObjectiveName
from neural_kernels.sections import NUMBER, Exponent, NotNegative, Number, Section, Thousand, UpToAThousand


class Grid(Section):
    """Numbers to choose from."""

    log10_smallest: Exponent
    log10_largest: Exponent
    count: Thousand = Field(description="Number of candidates.")
    candidates: UpToAThousand[Number] | None = Field(
        None,
        description="The candidates themselves, in place of the logarithmic grid.",
    )

    @functools.cached_property
    def numbers(self) -> tuple[float, ...]:
        """The candidates, ascending."""
        if self.candidates is not None:
            return tuple(sorted(self.candidates))
        exponents = np.linspace(self.log10_smallest, self.log10_largest, self.count)
        return tuple(sorted(10.0 ** float(exponent) for exponent in exponents))


class Ridge(Grid):
    """The diagonal regulariser eps, relative to the kernel's mean diagonal, is chosen among candidates."""

    log10_smallest: Exponent = Field(-8, description="log10 of the smallest eps.")
    log10_largest: Exponent = Field(2, description="log10 of the largest eps.")
    count: Thousand = Field(20, description="Number of candidates.")
    candidates: UpToAThousand[Annotated[float, Field(ge=1e-30), *NUMBER]] | None = Field(
        None,
        description="The candidates themselves, in place of the logarithmic grid.",
    )
    choose_by: Literal["validation", "loo", "gcv", "likelihood"] = Field(
        "validation",
        description="What chooses: the validation set; or without one, from the training examples alone, loo, the "
        "error of every example predicted by all others; gcv, generalised cross-validation; likelihood, the log "
        "marginal likelihood of a Gaussian process at its likeliest amplitude. Exact where n is solved directly, "
        "estimated with an error above.",
    )
    objective: ObjectiveName | None = Field(
        None,
        description="What validation and loo judge a candidate by: loss (mean squared error) or accuracy of a "
        "classification, mse of a regression, average_precision (the mean over the tasks with both labels) or mse of a "
        "multilabel task. Left out, loss, mse or average_precision.",
    )


class Jitter(Grid):
    """What nystrom and subset_of_regressors add to the diagonal of the kernel among their subset.

    Relative to the mean diagonal, it is chosen on the validation set, together with the ridge.
    """

    log10_smallest: Exponent = Field(-6, description="log10 of the smallest jitter.")
    log10_largest: Exponent = Field(0, description="log10 of the largest jitter.")
    count: Thousand = Field(4, description="Number of candidates.")
    candidates: UpToAThousand[NotNegative] | None = Field(
        None,
        description="The candidates themselves, in place of the logarithmic grid.",
    )
