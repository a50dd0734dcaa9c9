"""A study: one config file, as values that are checked and have their defaults."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from neural_kernels import architectures, datasets
from neural_kernels.architectures import Architecture
from neural_kernels.datasets import Data
from neural_kernels.engines import Kind, Precision
from neural_kernels.errors import UserError
from neural_kernels.names import check_name
from neural_kernels.preprocessing.options import Preprocessing, parse_preprocessing
from neural_kernels.sections import parse
from neural_kernels.storage.strict_yaml import shown
from neural_kernels.study import config_files
from neural_kernels.study.candidate_grids import Ridge
from neural_kernels.study.checks import check_study, ladder_steps
from neural_kernels.study.kernel_section import KernelSection
from neural_kernels.study.sections import Blocks, Fit, Sections
from neural_kernels.study.solver_settings import SolverSection
from neural_kernels.tuning.candidate import KEYS as TUNED_KEYS
from neural_kernels.tuning.candidate import Candidate, read_candidate

if TYPE_CHECKING:
    from neural_kernels.tuning.settings import Tuning

# What a study takes over from the one that its key kernels_from names.
SHARED = ("data", "preprocessing", "kernels", "precision", "engine", "blocks")


# Eigenvectors take some 9 n^3 operations, a factorisation a third: of more examples, far longer than all solves.
MOST_PREDICTED_FROM = 8192


@dataclass(frozen=True)
class Kernel:
    """One kernel of a study: what is computed on which features, and how far.

    Attributes:
        imported: where another program left it, whose ``architecture`` is then ``architectures.IMPORTED``.
    """

    name: str
    architecture: Architecture
    kind: Kind
    preprocessing: str
    largest_training_size: int | None
    validation_examples: int | None
    test_examples: int | None
    block_edge: int | None
    imported: Path | None = None


@dataclass(frozen=True)
class Study:
    """A validated study.

    Attributes:
        owner: the study whose folder holds the data and blocks.
        sections: what its file says, and that of ``owner``; those that much is asked of are properties.
        kernels: by name, those that it uses.
        tuning: None in a study that searches no hyperparameters.
    """

    name: str
    owner: str
    sections: Sections
    kernels: Mapping[str, Kernel]
    tuning: Tuning | None = None

    @property
    def title(self) -> str:
        return self.sections.title

    @property
    def seed(self) -> int:
        return self.sections.seed

    @property
    def data(self) -> Data:
        return self.sections.data

    @property
    def preprocessing(self) -> Mapping[str, Preprocessing]:
        return self.sections.preprocessing

    @property
    def precision(self) -> Precision:
        return self.sections.precision

    @property
    def engine(self) -> str:
        return self.sections.engine

    @property
    def blocks(self) -> Blocks:
        return self.sections.blocks

    @property
    def ridge(self) -> Ridge:
        return self.sections.ridge

    @property
    def solver(self) -> SolverSection:
        return self.sections.solver

    @property
    def fit(self) -> Fit:
        return self.sections.fit

    def plain(self, *keys: str) -> dict[str, Any]:
        """Sections by their keys in the file, as it would hold them with their defaults; None for one left out."""
        found = self.sections.model_dump(mode="json", include=set(keys))
        return {key: found.get(key) for key in keys}

    @functools.cached_property
    def part_sizes(self) -> dict[str, int]:
        """Examples of train, validation and each test set.

        Sizes that the config gives are taken from there, so that a study can be planned where its
        data is not; where it leaves one out, the headers of the data files are read.

        Raises:
            UserError: a size is left out, and the data files are missing or damaged.
        """
        tests = {name: test_set.examples for name, test_set in self.data.test_sets.items()}
        asked = {"train": self.data.train_examples, "validation": self.data.validation_examples, **tests}
        known = {part: size for part, size in asked.items() if size is not None}
        if not tests or len(known) < len(asked):
            return datasets.check_data(self.data).parts
        return known | {"train": self.augmentation_factor * known["train"]}

    @property
    def training_examples(self) -> int:
        """Examples in the training set, of which every training size is a leading part."""
        return self.part_sizes["train"]

    @property
    def augmentation_factor(self) -> int:
        """Examples of the training set for each of its images: 1 without data augmentation."""
        return 1 if self.data.augmentation is None else self.data.augmentation.factor

    @property
    def has_tasks(self) -> bool:
        """Whether the scores of each task are kept and reported."""
        return self.sections.tasks is not None

    @property
    def images(self) -> int:
        """Leading examples of the training set that the others are augmented copies of."""
        return self.training_examples // self.augmentation_factor

    @property
    def flipped_images(self) -> int:
        """Leading examples of the training set whose flips follow them; 0 without data augmentation."""
        return self.images if self.augmentation_factor > 1 else 0

    def augmentation_factors(self, kernel: str) -> list[int]:
        """The augmentation factor of each training size of one kernel.

        Raises:
            UserError: the study has no data augmentation, or a training size that is not a whole number of
                copies of all images.
        """
        if self.augmentation_factor == 1:
            raise UserError(f"config/{self.name}.yaml has no data.augmentation of factor 2 or more")
        for n in self.training_sizes(kernel):
            if n % self.images:
                raise UserError(
                    f"config/{self.name}.yaml: training_sizes has n = {n} for kernel {kernel}, expected multiples "
                    f"of the {self.images} images that are augmented"
                )
        return [n // self.images for n in self.training_sizes(kernel)]

    def evaluation_sizes(self, kernel: str) -> dict[str, int]:
        """Examples of the validation set, if there is one, and of each test set, that one kernel is evaluated on."""
        limits = self.kernels[kernel]

        def used(part: str, available: int) -> int:
            limit = limits.validation_examples if part == "validation" else limits.test_examples
            return available if limit is None else min(available, limit)

        return {part: used(part, n) for part, n in self.part_sizes.items() if part != "train" and n > 0}

    def block_edge(self, kernel: str) -> int:
        """Rows and columns of a block of one kernel."""
        return self.kernels[kernel].block_edge or self.blocks.edge

    @property
    def end_of_ladder(self) -> int:
        """The largest size of a ladder without ``sizes`` of its own."""
        available = self.training_examples
        return min(self.sections.training_sizes.largest or available, available)

    def training_sizes(self, kernel: str) -> list[int]:
        """The ladder of training sizes n of one kernel, ascending."""
        ladder = self.sections.training_sizes
        if ladder.sizes is not None:
            sizes = sorted(ladder.sizes)
        else:
            largest = self.end_of_ladder
            steps = math.floor(ladder_steps(ladder.smallest, largest, ladder.factor) + 1e-9)
            powers = (round(ladder.smallest * ladder.factor**step) for step in range(steps + 1))
            # Neighbours are equal where the factor is close to 1.
            sizes = sorted({*powers, largest})
        limit = self.kernels[kernel].largest_training_size
        return [n for n in sizes if limit is None or n <= limit]

    def draws(self, n: int, kernel: str) -> int:
        """Disjoint training sets of size ``n``: as many as asked for and as the largest n holds.

        A window of augmented copies would hold the images of another draw.
        """
        largest = min(self.training_sizes(kernel)[-1], self.images)
        return max(1, min(self.sections.draws, largest // n))

    def windows(self, n: int, kernel: str) -> list[tuple[int, int]]:
        """First example and end of each draw of size ``n``."""
        return [(draw * n, (draw + 1) * n) for draw in range(self.draws(n, kernel))]

    def method(self, n: int) -> Literal["direct", "iterative"]:
        """How training size ``n`` is solved: by Cholesky, or by conjugate gradients above the size for that."""
        return "direct" if n <= self.solver.direct_up_to else "iterative"

    def predicted_from(self, kernel: str) -> int:
        """Leading examples of the kernel matrix that the learning curve is predicted from; 0 where none can be.

        Of a larger matrix that is solved directly, a leading part that takes half the memory with its eigenvectors.
        Augmented copies are no independent examples.
        """
        direct = [n for n in self.training_sizes(kernel) if self.method(n) == "direct"]
        if not direct or self.augmentation_factor > 1:
            return 0
        fitting = math.isqrt(int(self.solver.memory_gib * 2**30) // 2 // (2 * 8))
        return min(direct[-1], MOST_PREDICTED_FROM, fitting)

    def ridge_candidates(self) -> list[float]:
        """Candidates for the diagonal regulariser, relative to the mean diagonal, ascending."""
        return list(self.ridge.numbers)

    def jitter_candidates(self) -> list[float]:
        """Candidates for the jitter of low-rank approximations, relative to the mean diagonal, ascending."""
        section = self.sections.approximations
        return [] if section is None else list(section.jitter.numbers)

    def approximations(self) -> list[tuple[str, int]]:
        """Method and size of each approximation of the full solution; none in a study that has no such section."""
        section = self.sections.approximations
        return [] if section is None else section.asked


def load_study(path: Path) -> Study:
    """The study in ``path``, config/<study>.yaml.

    Raises:
        UserError: the file is missing, is not YAML, or does not say what a study needs; the sentence names
            the key.
    """
    owner, sections = _read(path)
    sections = _with_files(path, sections)
    kernels = {name: _kernel(path, name, section, sections) for name, section in sections.kernels.items()}
    study = Study(path.stem, owner, sections, kernels, _tuning(path, sections))
    check_study(path, study)
    return study


def _read(path: Path) -> tuple[str, Sections]:
    """The study whose data and kernels the one in ``path`` uses, and what its file says together with that one's."""
    config = config_files.read_config(path)
    if not isinstance(config, dict) or config.get("kernels_from") is None:
        return path.stem, _own(path, config)
    for key in SHARED:
        if key in config:
            raise UserError(f"{path}: {key} may not be given together with kernels_from")
    owner = config["kernels_from"]
    if not isinstance(owner, str):
        raise UserError(f"{path}: kernels_from is {shown(owner)}, expected string")
    check_name(f"{path}: kernels_from", owner)
    other = path.with_name(f"{owner}.yaml")
    shared = config_files.read_config(other, f"{path}: kernels_from: ")
    if isinstance(shared, dict) and shared.get("kernels_from") is not None:
        raise UserError(
            f"{path}: kernels_from is {owner!r}, which takes its kernels from another study itself"
        )
    owned = _own(other, shared)
    sections = parse(str(path), Sections, config | {key: getattr(owned, key) for key in SHARED})
    for name in sections.use_kernels or ():
        if name not in sections.kernels:
            known = ", ".join(sections.kernels)
            raise UserError(f"{path}: use_kernels names {name!r}, expected one of {owner}'s kernels: {known}")
    used = {name: sections.kernels[name] for name in sections.use_kernels or sections.kernels}
    return owner, sections.model_copy(update={"kernels": used})


def _own(path: Path, config: Any) -> Sections:
    """The sections of a study that uses no other's kernels."""
    if isinstance(config, dict) and not config.keys() - Sections.model_fields.keys():
        for key in ("data", "preprocessing", "kernels"):
            if config.get(key) is None:
                raise UserError(f"{path}: the file lacks the key {key!r} (or kernels_from)")
        if "use_kernels" in config:
            raise UserError(f"{path}: use_kernels is given without kernels_from")
    return parse(str(path), Sections, config)


def _with_files(path: Path, sections: Sections) -> Sections:
    """``sections`` with what the kernels' files say in their place: an architecture, or all that was tuned."""
    kernels, preprocessing = dict(sections.kernels), dict(sections.preprocessing)
    for name, kernel in sections.kernels.items():
        try:
            if kernel.tuned is not None:
                kernels[name], preprocessing[name] = _tuned(name, kernel, kernel.tuned, preprocessing)
            elif kernel.architecture is not None and "file" in kernel.architecture:
                kernels[name] = _with_file(kernel, kernel.architecture)
        except UserError as error:
            raise UserError(f"{path}: kernels.{name}: {error}") from None
    return sections.model_copy(update={"kernels": kernels, "preprocessing": preprocessing})


def _with_file(kernel: KernelSection, given: Mapping[str, Any]) -> KernelSection:
    others = given.keys() - {"file"}
    if others:
        raise UserError(f"architecture has {min(others)} beside file, which stands alone")
    return kernel.model_copy(update={"architecture": read_candidate(Path(given["file"]))["architecture"]})


def _tuned(
    name: str, kernel: KernelSection, file: str, others: Mapping[str, Preprocessing]
) -> tuple[KernelSection, Preprocessing]:
    found = read_candidate(Path(file))
    for key in TUNED_KEYS:
        if key not in found:
            raise UserError(f"{file} lacks the key {key!r}")
    if found["kind"] not in get_args(Kind):
        raise UserError(f"{file}: kind is {found['kind']!r}, expected one of {', '.join(get_args(Kind))}")
    if name in others:
        raise UserError(
            f"the preprocessing in {file} gets the kernel's name, but preprocessing.{name} is there"
        )
    preprocessing = parse_preprocessing(f"{file}, preprocessing", found["preprocessing"])
    own = {"architecture": found["architecture"], "kind": found["kind"], "preprocessing": name}
    return kernel.model_copy(update=own), preprocessing


def _kernel(path: Path, name: str, section: KernelSection, sections: Sections) -> Kernel:
    where = f"{path}: kernels.{name}"
    assert section.preprocessing is not None, "the section is checked"
    if section.preprocessing not in sections.preprocessing:
        known = ", ".join(sections.preprocessing)
        raise UserError(f"{where}.preprocessing is {section.preprocessing!r}, expected one of {known}")
    if section.imported is not None:
        architecture = architectures.IMPORTED
    else:
        assert section.architecture is not None, "the section is checked"
        try:
            architecture = architectures.build(**section.architecture)
        except UserError as error:
            raise UserError(f"{where}.architecture: {error}") from None
    return Kernel(
        name,
        architecture,
        section.kind,
        section.preprocessing,
        section.largest_training_size,
        section.validation_examples,
        section.test_examples,
        section.block_edge,
        None if section.imported is None else Path(section.imported),
    )


def _tuning(path: Path, sections: Sections) -> Tuning | None:
    section, where = sections.tuning, f"{path}: tuning"
    if section is None:
        return None
    from neural_kernels.tuning.settings import parse_tuning  # few studies have one

    kernel = sections.kernels.get(section.baseline)
    if kernel is None:
        known = ", ".join(sections.kernels)
        raise UserError(f"{where}.baseline is {section.baseline!r}, expected one of the kernels {known}")
    if kernel.architecture is None:
        raise UserError(
            f"{where}.baseline is {section.baseline!r}, which is imported: expected an architecture"
        )
    assert kernel.preprocessing is not None, "the section is checked"
    used = sections.preprocessing[kernel.preprocessing].plain()
    # Where the files are and what is tested on changes no trial.
    data = {key: value for key, value in sections.data.plain().items() if key not in ("path", "test_sets")}
    identity = {
        "data": data,
        "seed": sections.seed,
        "precision": sections.precision,
        "ridge": sections.ridge.plain(),
    }
    return parse_tuning(where, section, Candidate(kernel.architecture, kernel.kind, used), identity)


def kernel_named(study: Study, name: str) -> Kernel:
    if name not in study.kernels:
        raise UserError(
            f"study {study.name} has no kernel {name!r}, expected one of {', '.join(study.kernels)}"
        )
    return study.kernels[name]


def check_size(study: Study, kernel: str, n: int) -> None:
    """Raise UserError where ``n`` is not a training size of the kernel."""
    sizes = study.training_sizes(kernel)
    if n not in sizes:
        raise UserError(
            f"training size {n} is not on the ladder of kernel {kernel}, expected one of {', '.join(map(str, sizes))}"
        )


def check_owner(study: Study) -> None:
    if study.owner != study.name:
        raise UserError(
            f"study {study.name} takes its data and kernels from {study.owner}: ask for those of {study.owner}"
        )
