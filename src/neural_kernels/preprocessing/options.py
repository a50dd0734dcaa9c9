"""The entries of a study's section ``preprocessing``: how examples become features, each method with its own keys.

Fitted once on the study's training set, applied to every part.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import Field

from neural_kernels.sections import Examples, Number, Section, parse

_FIT_EXAMPLES = (
    "Fit on the first so many training examples. null is all. Of an augmented training set, twice data.train_examples "
    "are the images and their flips, on which a fit keeps the symmetry."
)


class Zca(Section):
    """Whitens images."""

    method: Literal["zca"] = Field("zca", description="zca.")
    regularization: Number = Field(
        0.1,
        ge=0,
        le=10**6,
        description="Added to the covariance's diagonal, relative to its mean eigenvalue.",
    )
    per_image_normalization: bool = Field(
        True, description="Subtract each image's mean and scale it to unit norm before whitening."
    )
    fit_examples: Examples | None = Field(None, description=_FIT_EXAMPLES)


class Standardize(Section):
    """Brings each channel to mean 0 and standard deviation 1."""

    method: Literal["standardize"] = Field("standardize", description="standardize.")
    fit_examples: Examples | None = Field(None, description=_FIT_EXAMPLES)
    each_position: bool | None = Field(
        None,
        description="Each position of a channel has its own mean and standard deviation, over the examples; left out, "
        "each channel has one of all positions. What is the same in all training examples becomes zero.",
    )


class AsItIs(Section):
    """Takes the values as they are."""

    method: Literal["none"] = Field("none", description="none.")


Method = Literal["zca", "standardize", "none"]
KEYS: dict[Method, tuple[str, ...]] = {
    "zca": tuple(Zca.model_fields),
    "standardize": tuple(Standardize.model_fields),
    "none": tuple(AsItIs.model_fields),
}
Preprocessing = Annotated[Zca | Standardize | AsItIs, Field(discriminator="method")]


def parse_preprocessing(where: str, value: Any) -> Zca | Standardize | AsItIs:
    """``value``, which is found at ``where``, as an entry of the section; see ``sections.parse``."""
    return parse(where, cast(Any, Preprocessing), value)
