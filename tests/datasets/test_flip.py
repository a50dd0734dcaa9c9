"""Tables of sequences: FLIP's own, made-up ones, and what is wrong with a user's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import Contents, check_data, open_dataset, prepare_data, read_own_inputs
from flip_files import HEADER, ROWS, random_rows, text, write_csv, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.datasets import flip
from neural_kernels.datasets.pools import Dataset
from neural_kernels.errors import UserError

LETTERS = len(flip.ALPHABET)


def decoded(x: np.ndarray, alphabet: str = flip.ALPHABET) -> list[str]:
    """The sequences of one-hot examples, each up to the first padding."""
    places = x.argmax(axis=-1)
    return ["".join(alphabet[k] for k in row if k < len(alphabet)) for row in places]


def options(path: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "flip", "path": str(path), "validation_examples": None} | changes


def contents_of_parts(dataset: Dataset, contents_of: Contents) -> dict[str, tuple[Any, np.ndarray]]:
    assert dataset.validation is not None
    pools = {"train": dataset.train, "validation": dataset.validation, "test": dataset.tests["test"]()}
    return {part: contents_of(pool) for part, pool in pools.items()}


def test_rows_go_where_set_and_validation_say(
    tmp_path: Path, contents_of: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flip, "CHUNK_BYTES", 2 * 4 * (LETTERS + 1))
    dataset = open_dataset(options(write_csv(tmp_path / "mine.csv")))
    parts = contents_of_parts(dataset, contents_of)
    assert {part: decoded(x) for part, (x, _) in parts.items()} == {
        "train": ["ACD", "A", "ACC"],
        "validation": ["AC*"],
        "test": ["ACDE", "WYCA"],
    }
    np.testing.assert_array_equal(parts["train"][1], [[1.5], [0.25], [0.5]])
    np.testing.assert_array_equal(parts["validation"][1], [[-2.0]])
    np.testing.assert_array_equal(parts["test"][1], [[3.0], [-1.0]])
    assert (dataset.task, dataset.outputs) == ("regression", 1)
    # Padding is a channel of its own, up to the longest sequence of all parts.
    x, _ = parts["train"]
    assert x.shape == (3, 4, LETTERS + 1)
    assert x.dtype == np.uint8
    assert x[1, :, -1].tolist() == [0, 1, 1, 1]


@settings(max_examples=30)
@given(st.lists(st.text(flip.ALPHABET, min_size=1, max_size=9), min_size=1, max_size=6), st.integers(9, 12))
def test_one_hot_and_back(sequences: list[str], length: int) -> None:
    encode = flip.encoder(flip.ALPHABET)
    x = flip.one_hot([encode(sequence) for sequence in sequences], length, LETTERS)
    assert x.shape == (len(sequences), length, LETTERS + 1)
    np.testing.assert_array_equal(x.sum(axis=-1), 1)
    assert decoded(x) == sequences
    np.testing.assert_array_equal(x[:, :, -1].sum(axis=1), [length - len(s) for s in sequences])


def test_small_letters_are_capitals_unless_the_alphabet_has_them() -> None:
    encode = flip.encoder("ACa")
    assert encode("ACa") == bytes([0, 1, 2])
    assert encode("c") == encode("C")


def test_every_form_of_file_gives_the_same(tmp_path: Path, contents_of: Contents) -> None:
    import gzip

    plain = write_csv(tmp_path / "mine.csv")
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "marked.csv").write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    others = {"splits/other.csv": "nothing,here\n", "__MACOSX/splits/._mine.csv": "x"}
    archive = write_zip(tmp_path / "all.zip", {"splits/mine.csv": text()} | others)
    forms = [
        options(plain),
        options(tmp_path / "mine.csv.gz"),
        options(tmp_path / "marked.csv"),
        options(archive, table="mine"),
        options(tmp_path, table="mine"),
    ]
    first, *rest = [contents_of_parts(open_dataset(form), contents_of) for form in forms]
    for other in rest:
        for part in first:
            np.testing.assert_array_equal(other[part][0], first[part][0])
            np.testing.assert_array_equal(other[part][1], first[part][1])


def test_columns_of_other_names_and_orders(tmp_path: Path, contents_of: Contents) -> None:
    rows = ["train,3,0.5,ACD,x", "test,4,1.5,AC,y", "train,1,2.5,A,z"]
    path = write_csv(tmp_path / "mine.csv", rows, "set,binding,melting point,sequence,remark")
    dataset = open_dataset(options(path, targets=["melting point", "binding"]))
    assert dataset.validation is None
    assert dataset.outputs == 2
    np.testing.assert_array_equal(contents_of(dataset.train)[1], [[0.5, 3], [2.5, 1]])


def test_an_alphabet_and_a_length_of_ones_own(tmp_path: Path, contents_of: Contents) -> None:
    rows = ["ACGU,1,train,", "ACGN,2,train,", "AC,3,test,"]
    path = write_csv(tmp_path / "rna.csv", rows)
    dataset = open_dataset(options(path, alphabet="ACGUN", sequence_length=6))
    x, _ = contents_of(dataset.train)
    assert x.shape == (2, 6, 6)
    assert decoded(x, "ACGUN") == ["ACGU", "ACGN"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: "ACB,1.5,train,"}, "line 2: the sequence has 'B' at position 3, expected letters of ACDEF"),
        ({0: "AÇD,1.5,train,"}, "line 2: the sequence has 'Ç' at position 2"),
        ({2: "xxx,what,,"}, None),
        ({4: " ,3.0,test,"}, "line 6: the sequence is empty"),
        ({3: "A,,train,"}, "line 5: target is '', expected a finite number"),
        ({3: "A,high,train,"}, "line 5: target is 'high', expected a finite number"),
        ({3: "A,nan,train,"}, "line 5: target is 'nan'"),
        ({3: "A,1,training,"}, "line 5: set is 'training', expected train, test or nothing"),
        ({3: "A,1,train,maybe"}, "line 5: validation is 'maybe', expected True, False or nothing"),
        ({4: "ACDE,3.0,test,True"}, "line 6: set is 'test' and validation 'True'"),
        ({3: "A,1,train"}, "line 5: found 3 fields, expected 4 as in the header"),
        ({3: '"A,1,train,'}, "damaged or no table"),
        ({4: "", 5: ""}, "found no row whose set is 'test'"),
        ({0: "", 3: "", 6: ""}, "found no row whose set is 'train'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, changes: dict[int, str], message: str | None) -> None:
    rows = [changes.get(place, row) for place, row in enumerate(ROWS)]
    path = write_csv(tmp_path / "mine.csv", rows)
    if message is None:
        open_dataset(options(path))
        return
    with pytest.raises(UserError, match=f"mine.csv.*{message}"):
        check_data(options(path))


@pytest.mark.parametrize("column", ["sequence", "target", "set"])
def test_missing_columns_are_named(tmp_path: Path, column: str) -> None:
    header = HEADER.replace(column, "another")
    with pytest.raises(
        UserError, match=rf"mine.csv: found the columns .*another.*, expected '{column}' once"
    ):
        check_data(options(write_csv(tmp_path / "mine.csv", header=header)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alphabet": "AAC"}, "data.alphabet has 'A' twice"),
        ({"alphabet": "AC,"}, "data.alphabet has ','"),
        ({"alphabet": "ACÇ"}, "data.alphabet has 'Ç'"),
        ({"alphabet": "ACDE"}, r"has '\*' at position 3, expected letters of ACDE"),
        ({"sequence_length": 3}, "data.sequence_length is 3, expected at least 4"),
        ({"table": "mine"}, "the table 'mine' is asked for, expected so only of a .zip or a folder"),
        ({"validation_examples": 2}, "data.validation_examples is 2, expected at most the 1"),
        ({"train_examples": 4}, "data.train_examples is 4, expected at most the 3"),
        ({"test_sets": {"valid": {}}}, "data.test_sets.valid: no such test set, expected one of .*test"),
    ],
)
def test_bad_options_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_data(options(write_csv(tmp_path / "mine.csv"), **changes))


def test_archives_say_which_splits_they_hold(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "all.zip", {"splits/a.csv": text(), "splits/b.csv": text()})
    with pytest.raises(UserError, match=r"all.zip: found the tables a, b, expected 'c' once"):
        check_data(options(archive, table="c"))
    with pytest.raises(UserError, match=r"found the tables a, b, expected data.table to name one"):
        check_data(options(archive))
    with pytest.raises(UserError, match="no such file"):
        check_data(options(tmp_path / "gone.csv"))
    (tmp_path / "mine.txt").write_text(text())
    with pytest.raises(UserError, match=r"ending in '.txt', expected a .csv"):
        check_data(options(tmp_path / "mine.txt"))
    for name in ("broken.zip", "broken.csv.gz"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
        with pytest.raises(UserError, match=f"{name}: damaged or no table"):
            check_data(options(tmp_path / name))


def test_without_validation_rows_they_are_held_out(tmp_path: Path) -> None:
    rows = [row.replace("True", "") for row in ROWS]
    path = write_csv(tmp_path / "mine.csv", rows)
    assert check_data(options(path, validation_examples=1)).parts == {"train": 3, "validation": 1, "test": 2}
    with pytest.raises(UserError, match="has no validation split of its own"):
        check_data(options(path))


def test_the_first_test_rows_are_a_sample_of_all(tmp_path: Path, contents_of: Contents) -> None:
    rows = [f"{'ACDEFGHIKL'[k % 10]},{k},{'test' if k else 'train'}," for k in range(1001)]
    pool = open_dataset(options(write_csv(tmp_path / "sorted.csv", rows))).tests["test"]()
    x, y = contents_of(pool)
    assert sorted(y[:, 0]) == list(range(1, 1001))
    assert decoded(x) == ["ACDEFGHIKL"[int(value) % 10] for value in y[:, 0]]
    assert 400 < y[:200].mean() < 600


def test_prepared_examples_are_those_of_the_table(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(0), 60)
    prepare_data(options(write_csv(tmp_path / "mine.csv", rows)), tmp_path / "data", seed=3)
    found = {}
    for part in ("train", "validation", "test"):
        x, y = (np.load(tmp_path / "data" / f"{part}_{what}.npy") for what in "xy")
        found[part] = {(sequence, float(value)) for sequence, value in zip(decoded(x), y[:, 0], strict=True)}
    fields = [row.split(",") for row in rows]
    for part, marks in (("train", ("train", "")), ("validation", ("train", "True")), ("test", ("test", ""))):
        wanted = {(f[0], float(f[1])) for f in fields if (f[2], f[3]) == marks}
        assert found[part] == wanted


@pytest.mark.parametrize(
    ("split", "train", "validation", "test"),
    [("one_vs_rest", 25, 3, 8705), ("two_vs_rest", 381, 43, 8309), ("sampled", 6289, 699, 1745)],
)
def test_official_gb1(
    shared_data: Callable[[str], Path],
    split: str,
    train: int,
    validation: int,
    test: int,
    contents_of: Contents,
) -> None:
    path = shared_data("flip_gb1/splits.zip")
    dataset = open_dataset(options(path, table=split))
    assert dataset.validation is not None
    assert (dataset.train.count, dataset.validation.count) == (train, validation)
    assert dataset.tests["test"]().count == test
    assert dataset.train.input_shape == (265, LETTERS + 1)
    x, _ = contents_of(dataset.train)
    # Variants of one protein at four sites: V39, D40, G41 and V54, and nowhere else.
    assert np.flatnonzero((x != x[0]).any(axis=(0, 2))).size <= 4


def test_new_sequences_are_encoded_as_the_table_is(tmp_path: Path, contents_of: Contents) -> None:
    """Rows that no example can be made of are named, and the others are known by their sequences."""
    table = options(write_csv(tmp_path / "mine.csv"))
    rows = ["1,ACDE", "2,ac", "3,AXC", "4,", "5,ACDEF", "6,WYCA"]
    new = write_csv(tmp_path / "new.csv", rows, "id,sequence")
    found = read_own_inputs(table, new)
    assert found.identifiers.to_dict("list") == {"id": ["1", "2", "6"], "sequence": ["ACDE", "ac", "WYCA"]}
    assert isinstance(found.examples, np.ndarray)
    assert decoded(found.examples) == ["ACDE", "AC", "WYCA"]
    trained = open_dataset(table).tests["test"]()
    np.testing.assert_array_equal(found.examples[[0, 2]], contents_of(trained)[0])
    assert found.left_out == (
        (4, f"the sequence has 'X' at position 2, expected letters of {flip.ALPHABET}"),
        (5, "the sequence is empty"),
        (6, "the sequence has 5 letters, expected at most 4"),
    )
    longer = read_own_inputs(table | {"sequence_length": 7}, new)
    assert (longer.examples.shape, len(longer.left_out)) == ((4, 7, LETTERS + 1), 2)
    # With a length of its own, the table need not be there.
    assert len(read_own_inputs({"name": "flip", "path": "gone.csv", "sequence_length": 7}, new).examples) == 4
    with pytest.raises(UserError, match="expected 'sequence' once"):
        read_own_inputs(table, write_csv(tmp_path / "other.csv", ["1,ACD"], "id,seq"))
