"""An entry of the section ``kernels`` of a study."""

from typing import Any

from pydantic import Field, model_validator

from neural_kernels.architectures.section import ArchitectureSection
from neural_kernels.engines import Kind
from neural_kernels.sections import Examples, Million, Path, Section, SeveralExamples
from neural_kernels.sentences import refusal
from neural_kernels.tuning.candidate import KEYS as TUNED_KEYS


class KernelSection(Section):
    """What is computed on which features, and how far."""

    tuned: Path | None = Field(
        None,
        description="A file tuned.yaml of a tuning study (docs/how-to/tuning.md), which gives architecture, kind and "
        "preprocessing; its preprocessing gets the kernel's name.",
    )
    architecture: ArchitectureSection | None = Field(
        None,
        description="Name of an architecture and its parameters (docs/how-to/own-architecture.md), or under file the "
        "path of a YAML file with these in its section architecture.",
    )
    imported: Path | None = Field(
        None,
        description="In place of an architecture, a kernel that another program computed (docs/how-to/interop.md): a "
        "folder of .npy blocks, or one .npy array. The data is then labels, and preprocessing none.",
    )
    kind: Kind = Field(
        "ntk", description="Neural tangent kernel, or the covariance of the network at initialisation."
    )
    preprocessing: str | None = Field(None, description="Name of one entry of preprocessing.")
    largest_training_size: SeveralExamples | None = Field(
        None, description="Largest n of this kernel, where it is too costly for the whole ladder."
    )
    block_edge: Million | None = Field(
        None,
        description="Rows and columns of this kernel's blocks, where blocks.edge is too large for its cost.",
    )
    validation_examples: Examples | None = Field(
        None, description="Only the first so many validation examples, where the kernel is costly."
    )
    test_examples: Examples | None = Field(
        None, description="Only the first so many examples of each test set, where the kernel is costly."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_one_place(cls, value: Any) -> Any:
        """All that is tuned comes from the file, or from here."""
        if not isinstance(value, dict):
            return value
        if value.get("tuned") is None:
            imported = value.get("imported") is not None
            if imported and "architecture" in value:
                raise refusal(".architecture may not be given together with imported")
            for key in ("preprocessing",) if imported else ("architecture", "preprocessing"):
                if value.get(key) is None:
                    raise refusal(f" lacks the key {key!r}")
            return value
        for key in (*TUNED_KEYS, "imported"):
            if key in value:
                raise refusal(f".{key} may not be given together with tuned")
        return value
