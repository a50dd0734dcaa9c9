"""What the section ``data`` says of every data set: how many examples are taken, and which test sets.

A data set's own keys are in its module, as ``Options``, a subclass of ``DataOptions`` whose ``name`` is the data set's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from neural_kernels.sections import NUMBER, WHOLE, Deferred, Examples, Path, Section, TestSetName

if TYPE_CHECKING:
    from neural_kernels.datasets.augmentation import Augmentation
else:
    Augmentation = Annotated[Any, Deferred("neural_kernels.datasets.augmentation:Augmentation")]


LABELS = "labels"
"""The data set that has labels alone: those of the rows of an imported kernel."""


class TestSet(Section):
    """One test set."""

    __test__ = False  # no class of tests

    examples: Examples | None = Field(
        None,
        description="The first so many examples in file order. null is all. For digits, which have no test split of "
        "their own, so many are held out by a fixed draw, and null is 397.",
    )
    path: Path | None = Field(
        None,
        description="Where the files of a further test set are. cifar10: as of the data set; cifar10_1: its folder of "
        ".npy files.",
    )
    version: Literal["v4", "v6"] | None = Field(None, description="Version of cifar10_1. null is v6.")


class DataOptions(Section):
    """The examples that a study draws from, and how many it takes of them."""

    name: str = Field(description="The data set.")
    train_examples: Examples | None = Field(
        None,
        description="Examples of the training set, the largest training size. Drawn at random by the study's seed; a "
        "larger number keeps the examples of a smaller one. null is all that the validation set leaves.",
    )
    augmentation: Augmentation | None = Field(
        None,
        description="Data augmentation of the training images (paper, section 4): factor times train_examples, first "
        "the images, then their horizontal flips, then for each further factor one changed copy of every image. The "
        "first f times train_examples are the training set of factor f. Validation and test sets are not augmented. "
        "Kernel blocks that the flips make equal are computed once, where train_examples is a multiple of the block "
        "edge and preprocessing is fitted on images and flips alone (fit_examples, twice train_examples). Left out, "
        "none.",
    )
    validation_examples: Annotated[int, Field(ge=0, le=10**9), WHOLE] | None = Field(
        1000,
        description="Examples of the validation set, on which the ridge is chosen: held out of the training pool, or "
        "drawn from the validation split of a data set that has its own, of which null is all. With 0, everything is "
        "there to train on, and the study gives the one ridge that it takes.",
    )
    test_sets: Mapping[TestSetName, TestSet] = Field(
        {},
        max_length=100,
        description="Test sets by name: the data set's own (cifar10, cifar5m, digits, tiny_imagenet, test of flip, ogb "
        "and smiles, or <name> of x_<name> in arrays) and, for images of CIFAR's form and classes, cifar10 and "
        "cifar10_1. Empty is all of the data set's own.",
    )

    @property
    def source(self) -> str:
        """What the examples come from, for messages: the path, or the name of a data set that has none."""
        return str(getattr(self, "path", self.name))


class MeasuredOptions(DataOptions):
    """Those of data whose targets may be measured values."""

    log_offset: Annotated[float, Field(ge=0, le=1e15), *NUMBER] | None = Field(
        None,
        description="Learn log(target + log_offset), natural, in place of the targets of a regression, as suits values "
        "that are ratios, such as a fitness: an offset of about what the smallest can be told apart by. Scores, "
        "predictions and intervals are then of the logarithm, and named for it; a rank correlation is the same either "
        "way. Left out, targets are learnt as they are.",
    )
