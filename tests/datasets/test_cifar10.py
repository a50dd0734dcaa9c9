"""CIFAR-10 in every form it is published in, and in some it should not be."""

from __future__ import annotations

import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cifar10_files as files
import numpy as np
import pytest
from data_sections import Contents

from neural_kernels.datasets import cifar10
from neural_kernels.datasets.cifar10_pickle import read_batch
from neural_kernels.datasets.options import TestSet
from neural_kernels.errors import UserError

TRAIN = 5 * files.ROWS


@pytest.fixture(params=["folder", "parent", ".tar", ".tar.gz", ".tgz", ".tar.xz"])
def container(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("form", ["py", "bin"])
def test_every_form_gives_the_same_examples(
    tmp_path: Path, form: str, container: str, contents_of: Contents
) -> None:
    if container in ("folder", "parent"):
        folder = files.write_folder(tmp_path, form)
        path = folder if container == "folder" else tmp_path
    else:
        path = files.write_archive(tmp_path / f"cifar{container}", files.contents(form))
    dataset = cifar10.open_dataset(cifar10.Options(path=str(path)))
    x, y = files.images()
    for pool, part in [(dataset.train, slice(TRAIN)), (dataset.tests["cifar10"](), slice(TRAIN, None))]:
        found_x, found_y = contents_of(pool)
        np.testing.assert_array_equal(found_x, x[part])
        np.testing.assert_array_equal(found_y, y[part])
    assert dataset.outputs == len(dataset.class_names) == 10


@pytest.mark.usefixtures("small_batches")
def test_archive_packed_with_leading_dot(tmp_path: Path, contents_of: Contents) -> None:
    path = files.write_archive(tmp_path / "a.tar", files.contents("bin"), prefix="./")
    np.testing.assert_array_equal(
        contents_of(cifar10.open_test(TestSet(path=str(path))))[0], files.images()[0][TRAIN:]
    )


def test_real_archive(shared_data: Callable[[str], Path]) -> None:
    path = shared_data("cifar-10-binary.tar.xz")
    pool = cifar10.open_dataset(cifar10.Options(path=str(path))).train
    chunk = next(pool.chunks())
    assert pool.count == 50_000
    assert chunk.x.shape == (10_000, 32, 32, 3)
    # The first training images are known: a frog, a truck, a truck, a deer, an automobile.
    names = [cifar10.CLASS_NAMES[label] for label in chunk.y[:5]]
    assert names == ["frog", "truck", "truck", "deer", "automobile"]
    assert chunk.x[0, 0, 0].tolist() == [59, 62, 63]


def test_unpickling_needs_no_numpy_of_the_writer() -> None:
    x, y = files.images()
    planes, labels = read_batch(files.python2_pickle(x, y), files.ROWS)
    np.testing.assert_array_equal(planes, files.rows(x))
    np.testing.assert_array_equal(labels, y)
    again = pickle.dumps({b"data": files.rows(x), b"labels": y.tolist()}, protocol=4)
    np.testing.assert_array_equal(read_batch(again, files.ROWS)[0], files.rows(x))


class Malicious:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_with_a_forbidden_global_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    folder = files.write_folder(tmp_path, "py")
    witness = tmp_path / "witness"
    hostile = {"data": Malicious(open, str(witness), "w"), "labels": [0]}
    (folder / "data_batch_3").write_bytes(pickle.dumps(hostile, protocol))
    with pytest.raises(UserError, match=r"data_batch_3: damaged .* names (io|__builtin__)\.open"):
        list(cifar10.open_dataset(cifar10.Options(path=str(folder))).train.chunks())
    assert not witness.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({b"data": np.zeros(3), b"labels": [0]}, "expected u1"),
        ({b"data": np.array([{}]), b"labels": [0]}, "expected u1"),
        ({b"labels": [0]}, "lacks the array"),
        ({b"data": np.zeros(3, np.uint8)}, "lacks the array"),
        ([1, 2], "no dictionary"),
    ],
)
def test_pickle_of_something_else(value: dict[bytes, Any] | list[int], message: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=message):
        read_batch(pickle.dumps(value, protocol=4), files.ROWS)


@pytest.mark.usefixtures("small_batches")
def test_truncated_pickle(tmp_path: Path) -> None:
    folder = files.write_folder(tmp_path, "py")
    file = folder / "data_batch_2"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"data_batch_2: damaged"):
        list(cifar10.open_dataset(cifar10.Options(path=str(folder))).train.chunks())


@pytest.mark.usefixtures("small_batches")
def test_pickle_with_fewer_images_than_a_batch(tmp_path: Path) -> None:
    folder = files.write_folder(tmp_path, "py")
    x, y = files.images()
    (folder / "test_batch").write_bytes(files.python2_pickle(x[:3], y[:3]))
    with pytest.raises(UserError, match=r"test_batch: found pixels \(3, 3072\) and 3 labels, expected \(4,"):
        list(cifar10.open_test(TestSet(path=str(folder))).chunks())


@pytest.mark.usefixtures("small_batches")
def test_truncated_binary_is_found_before_it_is_read(tmp_path: Path) -> None:
    folder = files.write_folder(tmp_path, "bin")
    file = folder / "data_batch_5.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"data_batch_5\.bin: 12291 bytes, expected 12292"):
        cifar10.open_dataset(cifar10.Options(path=str(folder)))


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("keep", [0.2, 0.5, 0.8])
def test_truncated_archive(tmp_path: Path, ending: str, keep: float) -> None:
    path = files.write_archive(tmp_path / f"cifar{ending}", files.contents("bin"))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"cifar\.tar\S*: (damaged|incomplete)"):
        list(cifar10.open_dataset(cifar10.Options(path=str(path))).train.chunks())


@pytest.mark.usefixtures("small_batches")
def test_members_that_point_outside_are_never_looked_at(tmp_path: Path) -> None:
    members = files.contents("bin")
    name = "cifar-10-batches-bin/data_batch_1.bin"
    outside = {f"../{name}": members.pop(name), f"/{name}": b"x", **members}
    (tmp_path / "inner").mkdir()
    path = files.write_archive(tmp_path / "inner" / "a.tar", outside)
    with pytest.raises(UserError, match=r"a\.tar: incomplete, expected its member \S*data_batch_1"):
        list(cifar10.open_dataset(cifar10.Options(path=str(path))).train.chunks())
    assert [found.name for found in tmp_path.rglob("*")] == ["inner", "a.tar"]


@pytest.mark.usefixtures("small_batches")
def test_link_in_place_of_a_batch_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(files.contents("bin")["cifar-10-batches-bin/test_batch.bin"])
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    with pytest.raises(UserError, match="incomplete"):
        list(cifar10.open_test(TestSet(path=str(path))).chunks())


@pytest.mark.usefixtures("small_batches")
def test_oversized_pickle_in_an_archive_is_not_read(tmp_path: Path) -> None:
    path = files.write_archive(tmp_path / "a.tar.gz", {"cifar-10-batches-py/test_batch": bytes(10**6)})
    with pytest.raises(UserError, match="1000000 bytes, expected a pickle of about"):
        list(cifar10.open_test(TestSet(path=str(path))).chunks())


def test_missing_files_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such file or folder, .*cs\.toronto\.edu"):
        cifar10.open_dataset(cifar10.Options(path=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"found no CIFAR-10 there, .*cs\.toronto\.edu"):
        cifar10.open_dataset(cifar10.Options(path=str(tmp_path)))


@pytest.mark.usefixtures("small_batches")
def test_missing_batch_is_named(tmp_path: Path) -> None:
    folder = files.write_folder(tmp_path, "py")
    (folder / "data_batch_4").unlink()
    with pytest.raises(UserError, match=r"data_batch_4: no such file, .*cs\.toronto\.edu"):
        cifar10.open_dataset(cifar10.Options(path=str(tmp_path)))


def test_something_else_than_an_archive(tmp_path: Path) -> None:
    (tmp_path / "cifar.tar.gz").write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(UserError, match="damaged or not a tar archive"):
        cifar10.open_dataset(cifar10.Options(path=str(tmp_path / "cifar.tar.gz")))


@pytest.mark.usefixtures("small_batches")
def test_of_two_members_with_one_name_the_first_counts(tmp_path: Path, contents_of: Contents) -> None:
    members = files.contents("bin")
    first = "cifar-10-batches-bin/data_batch_1.bin"
    path = files.write_archive(
        tmp_path / "a.tar", {first: members[first], f"./{first}": bytes(12292), **members}
    )
    x, _ = contents_of(cifar10.open_dataset(cifar10.Options(path=str(path))).train)
    np.testing.assert_array_equal(x, files.images()[0][:TRAIN])
