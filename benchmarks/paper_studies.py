"""What the paper's own studies take, as a table in Markdown: `neural-kernels plan` for sizes instead of configs.

    python benchmarks/paper_studies.py
    python benchmarks/paper_studies.py --rate Myrtle10=15000      (pairs per second of a node of yours)

Sizes are the paper's. Rates are those of docs/performance.md (native engine, float64, two cores) unless
others are given; the published one is of the same authors, for one V100 and Neural Tangents.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from neural_kernels import architectures
from neural_kernels.architectures import covariance_entries
from neural_kernels.command_line.options import rate_of_kernel
from neural_kernels.planning import costs as planning
from neural_kernels.planning.text import hours_text

MEASURED = {"FC3": 19_387_739.0, "CV8": 140_793.0, "Myrtle10": 185.0}
CIFAR_SHAPE = (32, 32, 3)

# 508 GPU-hours for the Myrtle10 kernel of 60,000 CIFAR-10 images, of which only the half was computed.
PUBLISHED = {"Myrtle10": 60_000 * 60_001 / 2 / (508 * 3600)}

RANK = 1000


@dataclass(frozen=True)
class PaperStudy:
    """A kernel of the paper: training examples, those it is evaluated on, and right-hand sides.

    ``kernel`` is the architecture whose rate holds, on images of ``shape``; None where no rate is known.
    """

    name: str
    architecture: str
    n: int
    evaluated: int
    outputs: int
    kernel: str | None = None
    shape: tuple[int, ...] = CIFAR_SHAPE


STUDIES = (
    PaperStudy("CIFAR-5m", "FC3", 2_000_000, 22_000, 10, "FC3"),
    PaperStudy("CIFAR-5m", "CNN-Vec (CV8)", 5_000_000, 22_000, 10, "CV8"),
    PaperStudy("CIFAR-5m", "Myrtle10", 1_600_000, 22_000, 10, "Myrtle10"),
    PaperStudy("CIFAR-10 augmented 20 times", "FC3", 1_000_000, 12_000, 10, "FC3"),
    PaperStudy("CIFAR-10 augmented 20 times", "CNN-Vec (CV8)", 1_000_000, 12_000, 10, "CV8"),
    PaperStudy("CIFAR-10 augmented 20 times", "Myrtle10", 1_000_000, 12_000, 10, "Myrtle10"),
    PaperStudy("Tiny ImageNet, 64x64", "Myrtle10", 100_000, 10_000, 200, "Myrtle10", (64, 64, 3)),
    PaperStudy("AAV, the splits of 82,583", "Conv1D", 82_583, 0, 1),
    PaperStudy("ogbg-molpcba", "graph convolutions", 350_343, 87_586, 128),
)

COLUMNS = (
    "study", "kernel", "n", "pairs", "hours, two cores", "V100-hours, published rate", "block edge", "blocks",
    "disk (TB)", "read in one iteration (TB)", "memory of the solve (GB)",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=rate_of_kernel, action="append", default=[], metavar="KERNEL=PAIRS")
    measured = MEASURED | {name: rate for name, rate in parser.parse_args().rate if name is not None}
    print(line(COLUMNS))
    print(line(["---"] * len(COLUMNS)))
    for study in STUDIES:
        print(line(cells(study, measured)))


def cells(study: PaperStudy, measured: dict[str, float]) -> list[str]:
    rate, published = rate_on(study, measured), rate_on(study, PUBLISHED)
    fastest = max((known for known in (rate, published) if known is not None), default=None)
    edge = planning.recommended_edges([plan(study, planning.USUAL_EDGE, fastest)])[study.name]
    made = plan(study, edge, rate)
    return [
        study.name,
        study.architecture,
        f"{study.n:,}",
        f"{made.pairs:.2e}",
        hours_text(made.hours),
        hours_text(None if published is None else made.pairs / published / 3600),
        f"{edge:,}",
        f"{made.blocks:,}",
        f"{made.bytes / 1e12:,.2f}",
        f"{made.training_bytes / 1e12:,.2f}",
        f"{made.solve_bytes / 1e9:,.1f}",
    ]


def plan(study: PaperStudy, edge: int, rate: float | None) -> planning.KernelPlan:
    rows = {"train": study.n, "evaluated": study.evaluated}
    sizes = planning.KernelSizes(
        study.name, parts=rows, used=rows, edge=edge, itemsize=8, flipped_images=0, outputs=study.outputs, rank=RANK,
        direct_up_to=0,
    )  # fmt: skip
    return planning.plan_kernel(sizes, None, rate)


def rate_on(study: PaperStudy, rates: dict[str, float]) -> float | None:
    """Pairs per second on the study's images: a larger covariance takes as much longer."""
    if study.kernel not in rates:
        return None
    architecture = architectures.build(study.kernel)
    larger = covariance_entries(architecture, study.shape) / covariance_entries(architecture, CIFAR_SHAPE)
    return rates[study.kernel] / larger


def line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
