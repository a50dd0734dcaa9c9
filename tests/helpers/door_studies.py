"""Small studies of every kind of data file, and what the command line makes of them at the door."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cifar10_files
import molecule_files
import numpy as np
import tiny_imagenet_files
import yaml

from neural_kernels.cli import main

Files = dict[str, bytes]

# Where the data lies below a study's folder.
DATA = "data"
SIZES = {"training_sizes": {"sizes": [2]}, "blocks": {"edge": 8}}
DENSE = {
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}},
}
GRAPHS = {
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {"GNN": {"architecture": {"name": "SimpleGNN", "depth": 1}, "preprocessing": "plain"}},
}


def config(data: Mapping[str, Any]) -> dict[str, Any]:
    kernels = GRAPHS if data["name"] in ("ogb", "smiles") else DENSE
    return {"title": "At the door", "data": dict(data), **kernels, **SIZES}


# ---------------------------------------------------------------------------- valid files


def arrays(compress: bool = False, **changes: Any) -> Files:
    """An .npz of twelve examples in three classes; ``changes`` are further arrays, or None for one left out."""
    random = np.random.default_rng(0)
    content: dict[str, Any] = {
        "x_train": random.normal(size=(12, 4)),
        "y_train": np.arange(12) % 3,
        "x_test": random.normal(size=(5, 4)),
        "y_test": np.arange(5) % 3,
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    stream = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(stream, **content)
    return {"mine.npz": stream.getvalue()}


ARRAYS = {"name": "arrays", "path": "mine.npz", "validation_examples": 3}

FLIP_TEXT = "".join(
    f"{line}\n"
    for line in (
        "sequence,target,set,validation",
        *("ACD,1.5,train,", "AC*,-2.0,train,True", "GGG,7.0,,", "A,0.25,train,False", "ACDE,3.0,test,"),
        *("WYCA,-1.0,test,", "ACC,0.5,train,", "AKC,0.75,train,", "DDD,1e-1,train,"),
    )
)
FLIP = {"name": "flip", "path": "table.csv", "validation_examples": None}

SMILES_TEXT = "name,smiles,a,b,part\n" + "".join(
    f"m{row},{text},{values},{part}\n"
    for row, (text, values, part) in enumerate(
        zip(
            (*molecule_files.SMILES, "CCCC"),
            ("1.5,", "0,1", ",0", "0.25,1", "1,0", "2,", "0,0", "3,4"),
            ("train", "train", "train", "valid", "train", "train", "test", "test"),
            strict=True,
        )
    )
)
SMILES = {
    "name": "smiles",
    "path": "table.csv",
    "id_column": "name",
    "split": {"method": "column", "column": "part"},
    "validation_examples": None,
}


def zipped(files: Mapping[str, bytes], name: str = "archive.zip") -> Files:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return {name: stream.getvalue()}


def tarred(files: Mapping[str, bytes], name: str) -> Files:
    stream = io.BytesIO()
    mode = {".gz": "w:gz", ".xz": "w:xz"}.get(Path(name).suffix, "w")
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return {name: stream.getvalue()}


def cifar10(form: str) -> Files:
    """Batches of ten images, one of each class: with ``small_batches`` of so many rows."""
    x, _ = cifar10_files.images()
    folder, ending, encode = cifar10_files.ENCODE[form]
    y = np.arange(len(x)) % 10
    return {
        f"{folder}/{batch}{ending}": encode(x[k * 4 : (k + 1) * 4], y[k * 4 : (k + 1) * 4])
        for k, batch in enumerate(cifar10_files.BATCHES)
    }


CIFAR10 = {"name": "cifar10", "path": "", "validation_examples": 5, "test_sets": {"cifar10": {"examples": 3}}}
TINY = {"name": "tiny_imagenet", "path": "", "image_size": 8, "validation_examples": 2}


def ogb() -> Files:
    def table(rows: list[Any]) -> bytes:
        text = "".join(
            ",".join("" if value != value else f"{value:g}" for value in row) + "\n" for row in rows
        )
        return gzip.compress(text.encode(), mtime=0)

    nodes, bonds = molecule_files.NODES, molecule_files.BONDS
    return {
        "raw/graph-label.csv.gz": table(molecule_files.LABELS.tolist()),
        "raw/node-feat.csv.gz": table([atom for graph in nodes for atom in graph]),
        "raw/edge.csv.gz": table([bond for graph in bonds for bond in graph]),
        "raw/num-node-list.csv.gz": table([[len(graph)] for graph in nodes]),
        "raw/num-edge-list.csv.gz": table([[len(graph)] for graph in bonds]),
        **{
            f"split/scaffold/{part}.csv.gz": table([[row] for row in rows])
            for part, rows in molecule_files.SPLIT.items()
        },
    }


OGB = {"name": "ogb", "path": "", "validation_examples": None}


def cifar10_1(**changes: np.ndarray) -> Files:
    random = np.random.default_rng(1)
    found = {
        "data": random.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8),
        "labels": np.arange(6, dtype=np.int32),
    } | changes
    return {f"cifar10.1_v6_{key}.npy": npy(value) for key, value in found.items()}


def npy(value: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def every_kind() -> dict[str, tuple[dict[str, Any], Files]]:
    """The ``data`` section and the files of a study of each kind."""
    targets: dict[str, Any] = {"y_train": np.linspace(0, 1, 12), "y_test": np.linspace(0, 1, 5)}
    graph_tables = {"table.csv": SMILES_TEXT.encode()}
    flip = {"table.csv": FLIP_TEXT.encode()}
    tree = tiny_imagenet_files.files()
    five = {
        f"part{part}.npz": arrays(
            part == 0,
            X=np.random.default_rng(part).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8),
            Y=np.arange(12) % 10,
            **dict.fromkeys(("x_train", "y_train", "x_test", "y_test")),
        )["mine.npz"]
        for part in (0, 5)
    }
    batches = {form: cifar10(form) for form in ("py", "bin")}
    return {
        "arrays": (ARRAYS, arrays()),
        "arrays, compressed": (ARRAYS, arrays(compress=True)),
        "arrays, regression": (ARRAYS, arrays(**targets)),
        "flip": (FLIP, flip),
        "flip, gzip": ({**FLIP, "path": "table.csv.gz"}, {"table.csv.gz": gzip.compress(flip["table.csv"])}),
        "flip, zip": ({**FLIP, "path": "archive.zip"}, zipped({"splits/table.csv": flip["table.csv"]})),
        "smiles": (SMILES, graph_tables),
        "ogb": (OGB, ogb()),
        "cifar10, pickles": (CIFAR10, batches["py"]),
        "cifar10, binary": (CIFAR10, batches["bin"]),
        "cifar10, tar": ({**CIFAR10, "path": "a.tar"}, tarred(batches["bin"], "a.tar")),
        "cifar10, tar.gz": ({**CIFAR10, "path": "a.tar.gz"}, tarred(batches["py"], "a.tar.gz")),
        "cifar10, tar.xz": ({**CIFAR10, "path": "a.tar.xz"}, tarred(batches["bin"], "a.tar.xz")),
        "cifar10_1": (
            {**CIFAR10, "test_sets": {"cifar10_1": {"path": f"{DATA}"}}},
            batches["bin"] | cifar10_1(),
        ),
        "cifar5m": (
            {
                "name": "cifar5m",
                "path": "",
                "train_parts": [0],
                "validation_examples": 2,
                "test_sets": {"cifar5m": {}},
            },
            five,
        ),
        "tiny_imagenet": (TINY, tree),
        "tiny_imagenet, zip": ({**TINY, "path": "archive.zip"}, zipped(tree)),
    }


# ---------------------------------------------------------------------------- at the door


def write_study(folder: Path, data: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """``config/door.yaml`` of the section ``data``, whose paths are below ``folder``/data, and the files there."""
    for name, content in files.items():
        path = folder / DATA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    own = dict(data) | {"path": str(folder / DATA / data["path"])}
    for test, entry in own.get("test_sets", {}).items():
        if "path" in entry:
            own["test_sets"] = {**own["test_sets"], test: {**entry, "path": str(folder / entry["path"])}}
    (folder / "config").mkdir(parents=True, exist_ok=True)
    path = folder / "config" / "door.yaml"
    path.write_text(yaml.safe_dump(config(own)))
    return path


def run(verb: str, study: Path, *more: str) -> tuple[int, str]:
    """Exit status and what is on stderr of ``neural-kernels <verb>``, in this process."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = main([verb, str(study), "--results", str(study.parent.parent / "results"), *more])
    return status, said.getvalue()


def there(folder: Path) -> dict[str, int]:
    """Every file below ``folder`` and its size."""
    return {
        os.path.join(root, name): os.lstat(os.path.join(root, name)).st_size
        for root, _, names in os.walk(folder)
        for name in names
    }


def refused(study: Path, verb: str = "check") -> str:
    """The sentence with which ``verb`` refuses the study; nothing is written and nothing else is said."""
    folder = study.parent.parent
    before = there(folder)
    status, said = run(verb, study)
    assert status == 2, said
    assert there(folder) == before
    assert not (folder / "results").exists()
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert said.splitlines()[-1] == lines[0], said
    assert "Traceback" not in said
    assert len(lines[0]) < 2000
    return lines[0]


def check_door(study: Path) -> int:
    """Run ``check``: it is passed or refused as above; what is passed can be prepared and preprocessed.

    Returns the exit status of ``check``.
    """
    folder = study.parent.parent
    before = there(folder)
    status, said = run("check", study)
    assert there(folder) == before
    assert "Traceback" not in said
    if status == 2:
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, said
        assert said.splitlines()[-1] == errors[0], said
        return status
    assert status == 0, said
    for verb, more in (("prepare-data", []), ("preprocess-data", ["--preprocessing", "plain"])):
        status, said = run(verb, study, *more)
        assert status == 0, f"check passed what {verb} refuses: {said}"
    for path in (folder / "results" / "door" / "features" / "plain").glob("*.npy"):
        values = np.load(path)
        if not path.name.endswith(("_targets.npy", "_labels.npy")):
            assert np.isfinite(values).all(), path.name
        else:
            assert not np.isinf(values).any(), path.name
    return 0
