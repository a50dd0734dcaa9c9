"""The sections of a study's file, config/<study>.yaml, each a frozen value."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field

from neural_kernels.datasets import Data
from neural_kernels.engines import Precision
from neural_kernels.preprocessing.options import Preprocessing
from neural_kernels.sections import (
    NUMBER,
    WHOLE,
    Deferred,
    Examples,
    Line,
    Listed,
    Million,
    Name,
    Number,
    Paragraph,
    Section,
    Seed,
    SeveralExamples,
    TestSetName,
    UpToAThousand,
)
from neural_kernels.study.candidate_grids import Ridge
from neural_kernels.study.kernel_section import KernelSection
from neural_kernels.study.solver_settings import SolverSection

if TYPE_CHECKING:
    from neural_kernels.study.approximation_settings import ApproximationsSection
    from neural_kernels.tuning.settings import TuningSection
else:
    ApproximationsSection = Annotated[
        Any, Deferred("neural_kernels.study.approximation_settings:ApproximationsSection")
    ]
    TuningSection = Annotated[Any, Deferred("neural_kernels.tuning.settings:TuningSection")]


class Blocks(Section):
    """How a kernel is cut into jobs."""

    edge: Million = Field(5000, description="Rows and columns of a block, the unit of job, file and retry.")
    tile: Million | None = Field(
        None,
        description="Rows and columns of a tile, the unit of resume inside a block; left out, chosen so that a tile "
        "takes seconds.",
    )


class Ladder(Section):
    """The training sizes n: powers of factor from smallest to largest, or a list under sizes."""

    smallest: SeveralExamples = Field(16, description="Smallest n.")
    largest: SeveralExamples | None = Field(
        None,
        description="What n does not go beyond: the ladder ends here, or at the number of training examples that the "
        "data section takes, where that is less. Left out, it is that number.",
    )
    factor: Number = Field(
        2, gt=1, le=10**6, description="Ratio of neighbouring sizes. The ladder may have at most 1,000 sizes."
    )
    sizes: UpToAThousand[SeveralExamples] | None = Field(
        None,
        description="The sizes themselves, in place of smallest, largest and factor.",
    )


class Fit(Section):
    """Power law loss(n) = a n^-alpha of each kernel on each test set, with a floor where one is found."""

    n_min: Examples | None = Field(
        None, description="Smallest n of the fit; left out, the shallow start is found and excluded."
    )
    n_max: Examples | None = Field(None, description="Largest n of the fit.")
    bootstrap: Annotated[int, Field(ge=100, le=100_000), WHOLE] = Field(
        1000, description="Bootstrap samples of the interval that holds without a floor."
    )
    confidence: Number = Field(0.95, gt=0, lt=1, description="Coverage of the intervals of alpha.")


class Baselines(Section):
    """Simple methods beside the kernels: the mean, ridge regression, nearest neighbours, a random forest."""

    examples: Annotated[int, Field(ge=0, le=20_000), WHOLE] = Field(
        2000,
        description="Training examples that they are fitted to, the first of the largest training size, or all there "
        "are of it. 0 fits none.",
    )


class PublishedFigure(Section):
    """A figure of others."""

    name: Line = Field(description="Of the method.")
    metric: Literal["average_precision", "roc_auc", "rmse", "spearman"] = Field(
        description="What it is; rmse in the units of the data, the mean over tasks."
    )
    value: Number = Field(description="The figure.")
    spread: Annotated[float, Field(gt=0), *NUMBER] | None = Field(
        None, description="Its standard deviation as published."
    )
    test_set: TestSetName = Field("test", description="On which test set.")
    source: Paragraph = Field(description="Where it was published.")


class Tasks(Section):
    """The study reports each of its tasks, labels or values of a regression: results/<study>_tasks.pdf."""

    published: Listed[PublishedFigure] = Field(
        (), max_length=1000, description="Figures of others on the same test set."
    )


class Sections(Section):
    """One study, config/<study>.yaml: a data set, the kernels on it, and how the linear systems are solved.

    Keys that are left out take the defaults given here. Threads, memory, time and partitions belong to the profile,
    not here.
    """

    # Those of data, preprocessing and kernels that are not there may come by like or kernels_from.
    model_config = ConfigDict(json_schema_extra={"required": ["title"]})

    title: Line = Field(description="Title of the report.")
    seed: Seed = Field(
        0, description="Seed of every random choice (the training permutation, bootstrap, preconditioner)."
    )
    like: Name | None = Field(
        None,
        description="Name of another study, whose every section but title is taken where this file does not give it. "
        "This one has its own data and kernels; kernels_from shares them.",
    )
    kernels_from: Name | None = Field(
        None,
        description="Name of another study whose data, preprocessing and kernels this one uses, so that both share one "
        "set of blocks. The keys data, preprocessing, kernels, precision, engine and blocks are then taken from that "
        "study and may not be given here.",
    )
    use_kernels: UpToAThousand[Name] | None = Field(
        None,
        description="With kernels_from: which of that study's kernels to use. Left out, all of them.",
    )
    data: Data = Field(description="The examples that the study draws from, and how many it takes of them.")
    preprocessing: Mapping[Name, Preprocessing] = Field(
        min_length=1,
        max_length=1000,
        description="Named ways to turn raw examples into features; each kernel names the one it uses.",
    )
    kernels: Mapping[Name, KernelSection] = Field(
        min_length=1,
        max_length=1000,
        description="The kernels of the study by name; a name is a folder and a label in the report.",
    )
    precision: Precision = Field(
        "float64",
        description="Arithmetic and storage of the kernel; float32 halves the disk and is named in the report.",
    )
    engine: Literal["auto", "native", "jax", "neural_tangents", "cuda", "cuda_mixed"] = Field(
        "auto",
        description="What computes the kernel; auto takes the fastest that is here and covers the architecture. "
        "cuda_mixed, which auto never takes, is cuda with float32 up to the second pooling.",
    )
    blocks: Blocks = Field(Blocks(), description="How a kernel is cut into jobs.")
    training_sizes: Ladder = Field(
        Ladder(),
        description="The ladder of training sizes n: powers of factor from smallest to largest, or a list under sizes.",
    )
    draws: Annotated[int, Field(ge=1, le=10_000), WHOLE] = Field(
        1,
        description="Independent training sets for each n, as far as the examples reach: draw d is examples d*n to "
        "(d+1)*n of the one fixed permutation.",
    )
    ridge: Ridge = Field(
        Ridge(),
        description="The diagonal regulariser eps, relative to the kernel's mean diagonal, is chosen from these "
        "candidates.",
    )
    solver: SolverSection = Field(SolverSection(), description="How the linear systems are solved.")
    approximations: ApproximationsSection | None = Field(
        None,
        description="The study compares approximations of kernel regression with the full solution at the largest "
        "training size of each kernel: results/<study>_approximations.pdf. Left out, it does not.",
    )
    tasks: Tasks | None = Field(
        None,
        description="The study reports each of its tasks (labels, or values of a regression), and their mean beside "
        "published figures: results/<study>_tasks.pdf. Left out, it does not.",
    )
    tuning: TuningSection | None = Field(
        None,
        description="The study searches the hyperparameters of one architecture family (paper, Appendix C): "
        "results/<study>_tuning.pdf, and results/<study>/tuned.yaml, which other studies can name. Left out, it does "
        "not.",
    )
    baselines: Baselines = Field(
        Baselines(), description="Simple methods that the reports show beside the kernels."
    )
    fit: Fit = Field(Fit(), description="Power law loss(n) = a n^-alpha of each kernel on each test set.")
