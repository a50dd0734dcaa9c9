"""A study: one config file, checked against the schema, with its defaults filled in."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from neural_kernels import architectures, datasets
from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind
from neural_kernels.errors import UserError
from neural_kernels.study import config_files
from neural_kernels.study.checks import TRUNCATED, check_study, ladder_steps
from neural_kernels.study.schema import check_schema, complete, validate
from neural_kernels.tuning.candidate import KEYS as TUNED_KEYS
from neural_kernels.tuning.candidate import read_candidate
from neural_kernels.tuning.settings import Tuning, parse_tuning

# What a study takes over from the one that its key kernels_from names.
SHARED = ("data", "preprocessing", "kernels", "precision", "engine", "blocks")


@dataclass(frozen=True)
class Kernel:
    """One kernel of a study: what is computed on which features, and how far."""

    name: str
    architecture: Architecture
    kind: Kind
    preprocessing: str
    largest_training_size: int | None
    validation_examples: int | None
    test_examples: int | None
    block_edge: int | None


@dataclass(frozen=True)
class Study:
    """A validated study. ``owner`` is the study whose folder holds the data and blocks.

    ``tuning`` is None in a study that searches no hyperparameters.
    """

    name: str
    owner: str
    config: dict[str, Any]
    kernels: dict[str, Kernel]
    tuning: Tuning | None = None

    @functools.cached_property
    def part_sizes(self) -> dict[str, int]:
        """Examples of train, validation and each test set.

        Sizes that the config gives are taken from there, so that a study can be planned where its
        data is not; where it leaves one out, the headers of the data files are read.

        Raises:
            UserError: a size is left out, and the data files are missing or damaged.
        """
        data = self.config["data"]
        tests = {name: (entry or {}).get("examples") for name, entry in (data.get("test_sets") or {}).items()}
        train = data.get("train_examples")
        validation = data["validation_examples"]
        if tests and None not in (train, validation, *tests.values()):
            return {
                "train": self.augmentation_factor * train,
                "validation": validation,
                **tests,
            }
        return datasets.check_data(data).parts

    @property
    def training_examples(self) -> int:
        """Examples in the training set, of which every training size is a leading part."""
        return self.part_sizes["train"]

    @property
    def augmentation_factor(self) -> int:
        """Examples of the training set for each of its images: 1 without data augmentation."""
        return (self.config["data"].get("augmentation") or {"factor": 1})["factor"]

    @property
    def has_tasks(self) -> bool:
        """Whether the scores of each task are kept and reported."""
        return self.config.get("tasks") is not None

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
        return self.kernels[kernel].block_edge or self.config["blocks"]["edge"]

    def training_sizes(self, kernel: str) -> list[int]:
        """The ladder of training sizes n of one kernel, ascending."""
        ladder = self.config["training_sizes"]
        if "sizes" in ladder:
            sizes = sorted(ladder["sizes"])
        else:
            largest = ladder.get("largest", self.training_examples)
            steps = math.floor(ladder_steps(ladder["smallest"], largest, ladder["factor"]) + 1e-9)
            powers = (round(ladder["smallest"] * ladder["factor"] ** step) for step in range(steps + 1))
            # Neighbours are equal where the factor is close to 1.
            sizes = sorted({*powers, largest})
        limit = self.kernels[kernel].largest_training_size
        return [n for n in sizes if limit is None or n <= limit]

    def draws(self, n: int, kernel: str) -> int:
        """Disjoint training sets of size ``n``: as many as asked for and as the largest n holds.

        A window of augmented copies would hold the images of another draw.
        """
        largest = min(self.training_sizes(kernel)[-1], self.images)
        return max(1, min(self.config["draws"], largest // n))

    def windows(self, n: int, kernel: str) -> list[tuple[int, int]]:
        """First example and end of each draw of size ``n``."""
        return [(draw * n, (draw + 1) * n) for draw in range(self.draws(n, kernel))]

    def method(self, n: int) -> Literal["direct", "iterative"]:
        """How training size ``n`` is solved: by Cholesky, or by conjugate gradients above the size for that."""
        return "direct" if n <= self.config["solver"]["direct_up_to"] else "iterative"

    def ridge_source(self, n: int, kernel: str) -> int | None:
        """The training size whose ridge size ``n`` takes over, None where it chooses its own.

        A sweep over ridges would repeat the most costly step, so that sizes that are solved iteratively
        take the ridge chosen at the largest size that is solved directly.
        """
        if len(self.ridge_candidates()) == 1:
            return None
        direct = [size for size in self.training_sizes(kernel) if self.method(size) == "direct"]
        return direct[-1] if direct and self.method(n) == "iterative" else None

    def ridge_candidates(self) -> list[float]:
        """Candidates for the diagonal regulariser, relative to the mean diagonal, ascending."""
        return _candidates(self.config["ridge"])

    def jitter_candidates(self) -> list[float]:
        """Candidates for the jitter of low-rank approximations, relative to the mean diagonal, ascending."""
        return _candidates(self.config["approximations"]["jitter"])

    def approximations(self) -> list[tuple[str, int]]:
        """Method and size of each approximation of the full solution; none in a study that has no such section."""
        section = self.config.get("approximations")
        if section is None:
            return []
        sizes = {TRUNCATED: section["iterations"]}
        return [
            (method, size)
            for method in section["methods"]
            for size in sorted(sizes.get(method, section["sizes"]))
        ]


def _candidates(grid: dict[str, Any]) -> list[float]:
    """The numbers of a section that gives candidates, or the exponents of a logarithmic grid; ascending."""
    if "candidates" in grid:
        return sorted(grid["candidates"])
    exponents = np.linspace(grid["log10_smallest"], grid["log10_largest"], grid["count"])
    return sorted(10.0 ** float(exponent) for exponent in exponents)


def load_study(path: Path) -> Study:
    """The study in ``path``, config/<study>.yaml.

    Raises:
        UserError: the file is missing, is not YAML, or does not fit the schema; the sentence names
            the key.
    """
    config = _read(path)
    owner = path.stem
    if "kernels_from" in config:
        owner = config["kernels_from"]
        shared = _read(path.with_name(f"{owner}.yaml"), f"{path}: kernels_from: ")
        if "kernels_from" in shared:
            raise UserError(
                f"{path}: kernels_from is {owner!r}, which takes its kernels from another study itself"
            )
        for key in SHARED:
            config[key] = shared[key]
        for name in config.get("use_kernels", []):
            if name not in config["kernels"]:
                known = ", ".join(config["kernels"])
                raise UserError(
                    f"{path}: use_kernels names {name!r}, expected one of {owner}'s kernels: {known}"
                )
        wanted = config.get("use_kernels", list(config["kernels"]))
        config["kernels"] = {name: config["kernels"][name] for name in wanted}
    for name, options in config["kernels"].items():
        _take_over_files(path, name, options, config)
    kernels = {name: _kernel(path, name, options, config) for name, options in config["kernels"].items()}
    tuning = parse_tuning(f"{path}: tuning", config) if "tuning" in config else None
    study = Study(path.stem, owner, config, kernels, tuning)
    check_study(path, study)
    return study


def _read(path: Path, prefix: str = "") -> dict[str, Any]:
    config = config_files.read_config(path, prefix)
    validate(str(path), config, "config.schema.yaml")
    # Before defaults are filled in: what is there was given.
    _check_sharing(str(path), config)
    _check_tuned(str(path), config)
    complete(config, "config.schema.yaml")
    return config


def _check_sharing(path: str, config: dict[str, Any]) -> None:
    if "kernels_from" in config:
        for key in SHARED:
            if key in config:
                raise UserError(f"{path}: {key} may not be given together with kernels_from")
        return
    for key in ("data", "preprocessing", "kernels"):
        if key not in config:
            raise UserError(f"{path}: the file lacks the key {key!r} (or kernels_from)")
    if "use_kernels" in config:
        raise UserError(f"{path}: use_kernels is given without kernels_from")


def _check_tuned(path: str, config: dict[str, Any]) -> None:
    for name, options in config.get("kernels", {}).items():
        for key in TUNED_KEYS:
            if "tuned" in options and key in options:
                raise UserError(f"{path}: kernels.{name}.{key} may not be given together with tuned")


def _take_over_files(path: Path, name: str, options: dict[str, Any], config: dict[str, Any]) -> None:
    """Put what a kernel's files say in their place: an architecture, or all that was tuned."""
    where = f"{path}: kernels.{name}"
    try:
        if "tuned" in options:
            _take_over_tuned(name, options, config)
        elif "file" in options["architecture"]:
            others = options["architecture"].keys() - {"file"}
            if others:
                raise UserError(f"architecture has {min(others)} beside file, which stands alone")
            options["architecture"] = read_candidate(Path(options["architecture"]["file"]))["architecture"]
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _take_over_tuned(name: str, options: dict[str, Any], config: dict[str, Any]) -> None:
    file = options["tuned"]
    found = read_candidate(Path(file))
    for key in TUNED_KEYS:
        if key not in found:
            raise UserError(f"{file} lacks the key {key!r}")
    if found["kind"] not in get_args(Kind):
        raise UserError(f"{file}: kind is {found['kind']!r}, expected one of {', '.join(get_args(Kind))}")
    if name in config["preprocessing"]:
        raise UserError(
            f"the preprocessing in {file} gets the kernel's name, but preprocessing.{name} is there"
        )
    check_schema(f"{file}, preprocessing", found["preprocessing"], "preprocessing.schema.yaml")
    config["preprocessing"][name] = found["preprocessing"]
    options |= {"architecture": found["architecture"], "kind": found["kind"], "preprocessing": name}


def _kernel(path: Path, name: str, options: dict[str, Any], config: dict[str, Any]) -> Kernel:
    where = f"{path}: kernels.{name}"
    if options["preprocessing"] not in config["preprocessing"]:
        known = ", ".join(config["preprocessing"])
        raise UserError(f"{where}.preprocessing is {options['preprocessing']!r}, expected one of {known}")
    try:
        architecture = architectures.build(**options["architecture"])
    except UserError as error:
        raise UserError(f"{where}.architecture: {error}") from None
    return Kernel(
        name,
        architecture,
        options["kind"],
        options["preprocessing"],
        options.get("largest_training_size"),
        options.get("validation_examples"),
        options.get("test_examples"),
        options.get("block_edge"),
    )


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
