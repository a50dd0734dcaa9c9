"""Folders and archives as trees of files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from neural_kernels.datasets import file_tree
from neural_kernels.datasets.file_tree import FileTree, open_tree
from neural_kernels.errors import UserError

FILES = {"top.txt": b"top", "a/x.txt": b"x", "a/b/y.txt": b"y", "a/b/z.txt": b"z"}


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def opened(path: Path) -> FileTree:
    return open_tree(path, "root", "top.txt", "somewhere")


@pytest.fixture(params=["folder", "zip"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> FileTree:
    if request.param == "zip":
        return opened(write(tmp_path / "files.zip", {f"root/{name}": FILES[name] for name in FILES}))
    for name, content in FILES.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(content)
    return opened(tmp_path)


def test_names_and_contents(tree: FileTree) -> None:
    assert tree.names("a/b") == ["y.txt", "z.txt"]
    assert "top.txt" in tree.names("")
    assert tree.names("nowhere") == []
    with tree.reader() as read:
        assert {name: read(name) for name in FILES} == FILES
        with pytest.raises(UserError, match=r"root/a/none\.txt"):
            read("a/none.txt")


def test_a_file_that_would_fill_the_memory_is_not_read(
    tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_tree, "LARGEST_FILE", 2)
    with tree.reader() as read, pytest.raises(UserError, match=r"root/top\.txt: 3 bytes, expected at most 2"):
        read("top.txt")


@pytest.mark.parametrize(
    "name",
    ["../escaped.txt", "root/../../escaped.txt", "/tmp/escaped.txt", "a\\..\\escaped.txt", "C:/escaped.txt"],
)
def test_a_member_outside_the_archive_is_refused_and_not_written(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "evil.zip", {"root/top.txt": b"", name: b"evil"})
    with pytest.raises(UserError, match=r"evil\.zip: its member .*escaped\.txt' leads outside the archive"):
        opened(path)
    assert [file.name for file in tmp_path.rglob("*")] == ["evil.zip"]


def test_something_else_than_a_zip(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"not an archive" * 100)
    with pytest.raises(
        UserError, match=r"data\.zip: damaged or not a \.zip .*, expected data from somewhere"
    ):
        opened(tmp_path / "data.zip")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_zip(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "data.zip", {f"root/{name}": FILES[name] for name in FILES})
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(UserError, match=r"data\.zip: damaged or not a \.zip"):
        opened(path)


def test_a_flipped_bit_in_a_zip_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "data.zip", {"root/top.txt": b"distinctive"})
    path.write_bytes(path.read_bytes().replace(b"distinctive", b"distinctivf"))
    tree = opened(path)
    with tree.reader() as read, pytest.raises(UserError, match=r"member root/top\.txt: damaged .*CRC"):
        read("top.txt")
