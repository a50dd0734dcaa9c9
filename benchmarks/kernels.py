"""Pairs per second of each engine, against Neural Tangents at its best batch size in the same run.

    make bench-kernels                       (a few minutes)
    make bench-kernels ARGS="--full"         (more architectures and kinds)
    make bench-kernels ARGS="--only CV8 Conv1D"    (the rows whose names begin so)

Each measurement is a process of its own, so that its peak memory is its own. Prints a table and writes
results/benchmarks/kernels.json. Images are CIFAR-10's where they are given (--images, or the test data
folder), else random ones of that form: the speed does not depend on the values, the differences do.
Molecules, for SimpleGNN, are those of ogbg-molbace with 25 to 32 atoms where that is in the test data folder,
else made-up ones of these sizes: engines that fill graphs up to one size waste little on them.
Sequences, for Conv1D, are variants of the AAV capsid (735 residues) from the test data folder; without it these rows
are left out. "windowed" is the same kernel where the engine makes use of what the variants share, at the rate of
a whole block, with what each example costs once. "difference" is that to Neural Tangents in float64, "extended" that
to extended precision, of the flattened NTK of sequences.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels import architectures, engines
from neural_kernels.architectures import Architecture, Conv, Dense, covariance_entries
from neural_kernels.engines import common_windows
from neural_kernels.graphs import (
    Examples,
    Graphs,
    made_up,
    open_examples,
    stack,
    typical_shape,
    write_structure,
)
from neural_kernels.preprocessing import channels
from neural_kernels.storage.files import write_npy

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests" / "helpers"))
from extended_precision import conv1d_ntk  # noqa: E402

SHAPE = (32, 32, 3)
SECONDS = 4.0

# Edges of the square tile of pairs that an engine is given; Neural Tangents is tried at each of its own.
EDGES: dict[str, dict[str, tuple[int, ...]]] = {
    "Myrtle": {"native": (32,), "jax": (16,), "neural_tangents": (2, 4)},
    "CV8": {"native": (512,), "jax": (192,), "neural_tangents": (16, 64)},
    "FC3": {"native": (2048,), "jax": (2048,), "neural_tangents": (512, 2048)},
    "SimpleGNN": {"native": (256,), "jax": (128,), "neural_tangents": (16, 64)},
    "Conv1D flatten, full": {"native": (256,), "jax": (128,), "neural_tangents": (16, 64)},
    "Conv1D average, full": {"native": (16,), "jax": (8,), "neural_tangents": (3,)},
    # Of the fast engines, the block of a study: Neural Tangents is at full length all the same.
    "Conv1D flatten, windowed": {"native": (2048,), "jax": (512,), "neural_tangents": (16, 64)},
    "Conv1D average, windowed": {"native": (1024,), "jax": (128,), "neural_tangents": (3,)},
}
ARCHITECTURES: dict[str, Architecture] = {
    "Myrtle10": architectures.build("Myrtle10"),
    "CV8": architectures.build("CV8"),
    "FC3": architectures.build("FC3"),
    "SimpleGNN": architectures.build("SimpleGNN"),
    **{
        f"Conv1D {pooling}, {how}": architectures.build("Conv1D", pooling=pooling)
        for pooling in ("flatten", "average")
        for how in ("full", "windowed")
    },
    "Myrtle5": architectures.build("Myrtle5"),
    "Myrtle7": architectures.build("Myrtle7"),
}
EXTRA = ("Myrtle5", "Myrtle7")
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
ATOMS = (25, 32)

# Operations on one entry of a covariance in one convolution and its ReLU, NTK, as the offset layout does
# them: two separable 3x3 box filters (2 x 4 additions), their scale and bias (5), the correlation and its
# clipping (3), a square root (1), two polynomials by Horner's rule (2 x 26), and what joins them (9). Sums over
# a node and two neighbours, on both sides, are as many additions as the box filters, but of graphs and sequences no
# share of the peak is given: what several nodes share is computed once, and a filter along a line is cheaper.
FLOPS_PER_ENTRY = 78


@dataclass(frozen=True)
class Measurement:
    """One row of the table; rates are of the whole machine."""

    architecture: str
    kind: str
    precision: str
    engine: str
    batch: int
    pairs_per_second: float
    ratio_to_neural_tangents: float | None
    max_relative_difference: float | None
    difference_to_extended_precision: float | None
    peak_memory_bytes: int
    entries_per_second: float | None
    fraction_of_peak: float | None


def measure(
    name: str, kind: engines.Kind, precision: engines.Precision, engine: str, edge: int, out: Path
) -> None:
    """One process: warm up, measure, and leave the time, the memory and a corner of the kernel in ``out``."""
    architecture = ARCHITECTURES[name]
    images = open_benchmark_examples(name, out.parent)
    chosen = engines.load(engine)
    rows, columns = images[:edge], images[edge : 2 * edge]

    def whole_block() -> tuple[engines.Engine, np.ndarray]:
        best = common_windows.cheapest(chosen, architecture, kind, precision, [rows, columns], edge**2)
        left, right = (best.prepare(architecture, x, precision) for x in (rows, columns))
        return best, best.kernel(architecture, kind, left, right, precision)

    if "windowed" in name and engine != "neural_tangents":
        best, kernel = whole_block()
        work: Callable[[], object] = whole_block
    else:
        best = chosen
        left, right = (chosen.prepare(architecture, x, precision) for x in (rows, columns))
        work = partial(chosen.kernel, architecture, kind, left, right, precision)
        kernel = work()
    repeats, started = 0, time.perf_counter()
    while repeats == 0 or time.perf_counter() - started < SECONDS:
        work()
        repeats += 1
    seconds = time.perf_counter() - started
    peak = peak_memory()
    # Corners are compared between engines, so they are of the same images whatever the edge.
    first, others = (best.prepare(architecture, x, precision) for x in (images[:2], images[2:6]))
    corner = best.kernel(architecture, kind, first, others, precision)
    result = {"pairs_per_second": repeats * kernel.size / seconds, "peak": peak, "corner": corner.tolist()}
    out.write_text(json.dumps(result))


def share_of_peak(name: str, pairs: float, entries_per_second: float | None, peak: float) -> float | None:
    """Of a fully connected network the product of its inputs against the matrix product's rate, which bounds it."""
    if name.startswith("FC"):
        return pairs * 2 * math.prod(SHAPE) / peak
    return None if entries_per_second is None else entries_per_second * FLOPS_PER_ENTRY / peak


def peak_memory() -> int:
    """Bytes that this process has had in memory at most; getrusage would count those of its parent, too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no line VmHWM")


def open_benchmark_examples(name: str, folder: Path) -> Examples:
    if name == "SimpleGNN":
        return open_examples(folder / "molecules.npy", (None, 0))
    if name.startswith("Conv1D"):
        return open_examples(folder / "sequences.npy", (0, 0))
    return open_examples(folder / "images.npy", SHAPE)


def machine_peak(dtype: type) -> float:
    """Operations a second of a large matrix product, the arithmetic peak that this machine reaches."""
    a: np.ndarray = np.ones((3072, 3072), dtype)
    a @ a
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        a @ a
        best = max(best, 2 * a.shape[0] ** 3 / (time.perf_counter() - started))
    return best


def entries(architecture: Architecture, shape: tuple[int, ...] = SHAPE) -> int:
    """Entries of the covariance that all layers with weights and their activations touch, for one pair."""
    total, space = 0, shape[:-1]
    flat = covariance_entries(architecture, shape)
    power = 2 if flat == np.prod(shape[:-1]) ** 2 else 1
    for layer in architecture.layers:
        if isinstance(layer, architectures.AvgPool):
            space = tuple(size // layer.window for size in space)
        elif isinstance(
            layer, architectures.Flatten | architectures.GlobalAvgPool | architectures.GlobalSumPool
        ):
            space = ()
        elif isinstance(layer, Conv | Dense):
            total += int(np.prod(space)) ** power if space else 1
    return total


def run(name: str, kind: str, precision: str, engine: str, edge: int, folder: Path) -> dict[str, Any]:
    out = folder / f"{name}-{kind}-{precision}-{engine}-{edge}.json"
    command = [sys.executable, __file__, "--measure", name, kind, precision, engine, str(edge), str(out)]
    subprocess.run(command, check=True)
    return json.loads(out.read_text()) | {"edge": edge}


def cases(full: bool, only: Sequence[str] | None, sequences: bool) -> list[tuple[str, str, str]]:
    names = [name for name in ARCHITECTURES if full or only or name not in EXTRA]
    if only:
        names = [name for name in names if name.startswith(tuple(only))]
    names = [name for name in names if sequences or not name.startswith("Conv1D")]
    kinds = ["ntk", "nngp"] if full else ["ntk"]
    return [
        (name, kind, precision) for name in names for kind in kinds for precision in ("float64", "float32")
    ]


def test_data() -> Path:
    return Path(os.environ.get("NEURAL_KERNELS_TEST_DATA", ROOT.parent / "shared" / "data"))


def molecules(count: int) -> tuple[Graphs, str]:
    """Molecules of about one size, the atoms' features one-hot, and where they are from."""
    folder = test_data() / "ogb" / "ogbg_molbace" / "raw"
    if not folder.exists():
        random = np.random.default_rng(0)
        graphs = made_up(8 * count, 1, random, sum(ATOMS) // 2)
        kinds = random.integers(0, 30, len(graphs.nodes))
        graphs = Graphs(np.eye(174)[kinds], graphs.node_offsets, graphs.edges, graphs.edge_offsets)
        source = "made-up molecules"
    else:

        def table(name: str) -> np.ndarray:
            return pd.read_csv(folder / f"{name}.csv.gz", header=None).to_numpy()

        one_hot = np.concatenate(
            [np.eye(column.max() + 1)[column] for column in table("node-feat").T], axis=1
        )
        bonds = np.split(table("edge"), np.cumsum(table("num-edge-list")[:-1, 0]))
        nodes = np.split(one_hot, np.cumsum(table("num-node-list")[:-1, 0]))
        graphs = stack(nodes, [np.concatenate([pairs, pairs[:, ::-1]]) for pairs in bonds])
        source = "ogbg-molbace"
    fitting = np.flatnonzero((graphs.node_counts >= ATOMS[0]) & (graphs.node_counts <= ATOMS[1]))
    chosen = np.random.default_rng(0).permutation(fitting)[:count]
    return graphs[chosen], f"{source} of {ATOMS[0]} to {ATOMS[1]} atoms"


def capsids(count: int) -> np.ndarray | None:
    """Variants of the AAV capsid, one-hot and standardised (count, 735, 20), or None where they are not there."""
    path = test_data() / "aav" / "splits_reconstructed.zip"
    if not path.exists():
        return None
    with zipfile.ZipFile(path) as archive, archive.open("splits/two_vs_many.csv") as file:
        sequences = pd.read_csv(file, usecols=["sequence"]).sequence.sample(count, random_state=0)
    letters = np.array([list(sequence) for sequence in sequences])
    one_hot = (letters[:, :, None] == np.array(list(LETTERS))).astype(np.float64)
    return channels.apply(channels.fit([one_hot]), one_hot)


def extended_corner(sequences: np.ndarray) -> np.ndarray:
    """The corner that engines are compared on, in extended precision.

    Most positions of two variants agree, and Neural Tangents' angle of 1e-8 there, in place of none, shows.
    """
    return np.array([[conv1d_ntk(x, y) for y in sequences[2:6]] for x in sequences[:2]])


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found - expected) / np.abs(expected)))


def images(path: Path | None, count: int) -> tuple[np.ndarray, str]:
    """Images scaled to [-1, 1], and where they are from."""
    from neural_kernels.datasets import cifar10

    path = path or test_data() / "cifar-10-binary.tar.xz"
    if path.exists():
        chunk = next(iter(cifar10.open_dataset(cifar10.Options(path=str(path))).train.chunks()))
        return np.asarray(chunk.x[:count], np.float64) / 127.5 - 1, "CIFAR-10"
    return np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE)), "random images"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="Myrtle5 and Myrtle7 and NNGP kernels as well")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"begin of names: {', '.join(ARCHITECTURES)}"
    )
    parser.add_argument("--images", type=Path, help="CIFAR-10, as a study's data.path")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "kernels.json")
    parser.add_argument("--measure", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, kind, precision, engine, edge, out = options.measure
        measure(name, kind, precision, engine, int(edge), Path(out))
        return
    largest = max(edge for edges in EDGES.values() for each in edges.values() for edge in each)
    pictures, source = images(options.images, 2 * largest)
    graphs, graphs_source = molecules(2 * max(EDGES["SimpleGNN"]["native"]))
    longest = max(edge for name in ARCHITECTURES if "Conv1D" in name for (edge,) in [EDGES[name]["native"]])
    sequences = capsids(2 * longest)
    wanted = cases(options.full, options.only, sequences is not None)
    if sequences is None:
        print(f"no rows of Conv1D: aav/splits_reconstructed.zip is not in {test_data()}")
    shapes = {"SimpleGNN": typical_shape(graphs)} | {
        name: (735, 20) for name in ARCHITECTURES if name.startswith("Conv1D")
    }
    peaks = {"float64": machine_peak(np.float64), "float32": machine_peak(np.float32)}
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores; matrix product {peaks['float64'] / 1e9:.0f} GFLOP/s float64, "
          f"{peaks['float32'] / 1e9:.0f} float32; {source}; {graphs_source}")  # fmt: skip
    print(f"{'architecture':26}{'kind':6}{'precision':10}{'engine':17}{'pairs/s':>12}{'ratio':>8}"
          f"{'difference':>12}{'extended':>10}{'memory':>10}{'entries/s':>11}{'of peak':>9}")  # fmt: skip
    rows: list[Measurement] = []
    extended: dict[tuple[str, str], np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_npy(Path(folder) / "images.npy", pictures)
        write_npy(Path(folder) / "molecules.npy", graphs.nodes)
        write_structure(Path(folder) / "molecules.npy", graphs)
        if sequences is not None:
            write_npy(Path(folder) / "sequences.npy", sequences)
        for name, kind, precision in wanted:
            edges = EDGES["Myrtle" if name.startswith("Myrtle") else name]
            references = [
                run(name, kind, precision, "neural_tangents", edge, Path(folder))
                for edge in edges["neural_tangents"]
            ]
            reference = max(references, key=lambda result: result["pairs_per_second"])
            exact = reference if precision == "float64" else next(
                json.loads(path.read_text())
                for path in Path(folder).glob(f"{name}-{kind}-float64-neural_tangents-*.json")
            )  # fmt: skip
            for engine in ("neural_tangents", "jax", "native"):
                if engines.load(engine).unavailable():
                    continue
                result = reference if engine == "neural_tangents" else run(
                    name, kind, precision, engine, edges[engine][0], Path(folder)
                )  # fmt: skip
                corner, expected = np.array(result["corner"]), np.array(exact["corner"])
                shape = shapes.get(name, SHAPE)
                rate = None
                if "windowed" not in name or engine == "neural_tangents":
                    rate = result["pairs_per_second"] * entries(ARCHITECTURES[name], shape)
                if sequences is not None and name.startswith("Conv1D flatten") and kind == "ntk":
                    extended.setdefault((name, kind), extended_corner(sequences))
                extra = extended.get((name, kind))
                row = Measurement(
                    name, kind, precision, engine, result["edge"], result["pairs_per_second"],
                    result["pairs_per_second"] / reference["pairs_per_second"],
                    largest_difference(corner, expected),
                    None if extra is None else largest_difference(corner, extra),
                    result["peak"], rate,
                    share_of_peak(name, result["pairs_per_second"], rate, peaks[precision])
                    if name not in shapes
                    else None,
                )  # fmt: skip
                rows.append(row)
                print(f"{name:26}{kind:6}{precision:10}{engine:17}{row.pairs_per_second:12,.1f}"
                      f"{row.ratio_to_neural_tangents:8.1f}{row.max_relative_difference:12.1e}"
                      + (f"{'':10}" if extra is None else f"{row.difference_to_extended_precision:10.1e}")
                      + f"{row.peak_memory_bytes / 2**20:6,.0f} MiB"
                      + (f"{row.entries_per_second:11.1e}" if row.entries_per_second else f"{'':11}")
                      + (f"{row.fraction_of_peak:9.1%}" if row.fraction_of_peak else ""), flush=True)  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(options.out)


if __name__ == "__main__":
    main()
