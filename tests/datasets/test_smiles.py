"""Tables of SMILES: molecules as OGB has them, values with gaps, splits, and rows that are no molecules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import molecule_files as made_up
import numpy as np
import pytest
from data_sections import check_data, open_dataset, prepare_data, read_own_inputs
from molecule_files import decoded

from neural_kernels.datasets import molecule_splits, molecules, smiles
from neural_kernels.datasets.pools import Pool
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs

pytest.importorskip("rdkit", reason="reading SMILES needs the package rdkit")

VALUES = ["1,", "0,1", ",0", "0,1", "1,0", ",", "0,0"]
RANDOM: dict[str, Any] = {"method": "random", "fractions": [0.5, 0.25, 0.25]}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["name,smiles,a,b"]
    lines += [f"m{row},{text},{VALUES[row]}" for row, text in enumerate(made_up.SMILES)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def options(path: Path, **more: Any) -> dict[str, Any]:
    own = {
        "name": "smiles",
        "path": str(path),
        "id_column": "name",
        "validation_examples": None,
        "split": RANDOM,
    }
    return own | more


def contents(pool: Pool | None) -> tuple[Any, np.ndarray]:
    assert pool is not None
    (chunk,) = pool.chunks()
    return chunk.x, chunk.y


def edges_of(graphs: Graphs, graph: int) -> list[list[int]]:
    return graphs.edges[graphs.edge_offsets[graph] : graphs.edge_offsets[graph + 1]].tolist()


def test_atoms_have_the_features_of_ogb() -> None:
    found = molecules.parse(made_up.SMILES)
    features = np.split(decoded(found.graphs.nodes), found.graphs.node_offsets[1:-1])
    # As ogb/utils/features.py has them: methane, and the example that stands there itself.
    assert features[0].tolist() == [[5, 0, 4, 5, 4, 0, 2, 0, 0]]
    assert features[4][1].tolist() == [5, 2, 4, 5, 1, 0, 2, 0, 0]
    assert features[2].tolist() == [[5, 0, 3, 5, 1, 0, 1, 1, 1]] * 6
    assert features[3][3].tolist() == [6, 0, 2, 5, 0, 0, 1, 1, 1]
    # Sodium and chloride: no neighbours, charges of +1 and -1.
    assert features[5][:, :5].tolist() == [[10, 0, 0, 6, 0], [16, 0, 0, 4, 0]]
    assert found.graphs.node_counts.tolist() == [1, 3, 6, 6, 6, 2, 4]
    assert edges_of(found.graphs, 0) == edges_of(found.graphs, 5) == []
    assert edges_of(found.graphs, 1) == [[0, 1], [1, 0], [1, 2], [2, 1]]


def test_what_is_no_value_of_a_feature_is_the_last_one() -> None:
    dummy, uranium = decoded(molecules.parse(["*", "[U+6]"]).graphs.nodes).tolist()
    assert dummy[0] == 118
    assert uranium[0] == 91
    assert uranium[3] == 11


def test_a_table_becomes_pools(table: Path) -> None:
    dataset = open_dataset(options(table))
    assert (dataset.task, dataset.outputs, dataset.class_names) == ("multilabel", 2, ("a", "b"))
    pools = {"train": dataset.train, "validation": dataset.validation, "test": dataset.tests["test"]()}
    rows = molecule_splits.at_random(7, RANDOM["fractions"], 0)
    everything = molecules.parse(made_up.SMILES).graphs
    values = np.array([[float(v or "nan") for v in line.split(",")] for line in VALUES])
    assert sorted(np.concatenate(list(rows.values()))) == list(range(7))
    for part, pool in pools.items():
        x, y = contents(pool)
        np.testing.assert_array_equal(y, values[rows[part]])
        np.testing.assert_array_equal(x.nodes, everything[rows[part]].nodes)


def test_the_split_follows_from_the_seed(table: Path) -> None:
    def train(seed: int) -> np.ndarray:
        return contents(open_dataset(options(table, split=RANDOM | {"seed": seed})).train)[0].nodes

    np.testing.assert_array_equal(train(3), train(3))
    assert len({train(seed).tobytes() for seed in range(5)}) > 1


def test_molecules_of_one_scaffold_stay_together() -> None:
    scaffolds = ["a", "b", "a", "", "c", "b", "a", "", "d", "e"]
    found = molecule_splits.by_scaffold(scaffolds, [0.5, 0.2, 0.3])
    # Sets of 3, 2, 2, 1, 1, 1; of equal sizes the one that starts last comes first.
    assert {part: rows.tolist() for part, rows in found.items()} == {
        "train": [0, 2, 3, 6, 7],
        "validation": [1, 5],
        "test": [4, 8, 9],
    }


def test_a_split_by_column_or_by_files(table: Path, tmp_path: Path) -> None:
    lines = table.read_text().splitlines()
    parts = ["part", "train", "valid", "test", "Train", "", "train", "validation"]
    table.write_text("\n".join(f"{line},{part}" for line, part in zip(lines, parts, strict=True)))
    by_column = open_dataset(options(table, split={"method": "column", "column": "part"}))
    folder = made_up.write_split(tmp_path / "split", {"train": [0, 3, 5], "valid": [1, 6], "test": [2]})
    by_files = open_dataset(
        options(table, task_columns=["a", "b"], split={"method": "files", "folder": str(folder)})
    )
    for one, other in (
        (by_column.train, by_files.train),
        (by_column.validation, by_files.validation),
        (by_column.tests["test"](), by_files.tests["test"]()),
    ):
        (x, y), (x2, y2) = contents(one), contents(other)
        np.testing.assert_array_equal(x.nodes, x2.nodes)
        np.testing.assert_array_equal(y, y2)
    assert by_column.validation is not None
    assert (by_column.train.count, by_column.validation.count) == (3, 2)
    table.write_text(table.read_text().replace("Train", "holdout"))
    with pytest.raises(UserError, match=r"row 4 is of part 'holdout', expected one of train"):
        open_dataset(options(table, split={"method": "column", "column": "part"}))


def test_what_is_no_molecule_is_named_or_left_out(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = table.read_text().replace("CCO", "C(C)(C)(C)(C)C").replace("[Na+].[Cl-]", "")
    table.write_text(text)
    with pytest.raises(UserError, match=r"2 SMILES are no molecules .* row 2, 'C\(C\)\(C\)\(C\)\(C\)C'"):
        check_data(options(table))
    with caplog.at_level("WARNING"):
        summary = check_data(options(table, invalid="drop"))
    assert sum(summary.parts.values()) == 5
    assert "left out 2 SMILES" in caplog.text
    folder = made_up.write_split(
        table.parent / "split", {"train": [0, 1, 2], "valid": [3, 5], "test": [4, 6]}
    )
    kept = open_dataset(options(table, invalid="drop", split={"method": "files", "folder": str(folder)}))
    assert kept.validation is not None
    assert [kept.train.count, kept.validation.count, kept.tests["test"]().count] == [2, 1, 2]
    np.testing.assert_array_equal(contents(kept.train)[1], [[1, np.nan], [np.nan, 0]])


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (("smiles,", "structure,"), {}, r"found no column 'smiles', expected one of name, structure, a, b"),
        (("c1ccncc1,0", "c1ccncc1,low"), {}, r"row 4 has 'low' in column a, expected a number or nothing"),
        (("c1ccncc1,0", "c1ccncc1,inf"), {}, r"row 4 has 'inf' in column a"),
        (("c1ccncc1,0", "c1ccncc1,2"), {"task": "multilabel"}, r"example 3 for task a is 2, expected the label"),
        (("", ""), {"task_columns": ["c"]}, r"found no column 'c'"),
        (("", ""), {"split": {"method": "random", "fractions": [0.5, 0.2, 0.2]}}, r"that add up to 1"),
        (("", ""), {"split": {"method": "random", "fractions": [0.9, 0.1, 0.0]}}, r"none of the 7 molecules for test"),
        (("", ""), {"split": {"method": "column"}}, r"data\.split\.column is not given"),
        (("", ""), {"split": {"method": "files"}}, r"data\.split\.folder is not given"),
        (("", ""), {"validation_examples": 5}, r"validation_examples is 5, expected at most the 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(
    table: Path, change: tuple[str, str], more: dict[str, Any], sentence: str
) -> None:
    table.write_text(table.read_text().replace(*change) if change[0] else table.read_text())
    with pytest.raises(UserError, match=sentence):
        check_data(options(table, **more))


def test_inputs_for_predictions_need_no_values(table: Path) -> None:
    new = table.with_name("new.csv")
    new.write_text("smiles,name\nCCO,ethanol\nnothing,x\nc1ccccc1,benzene\n")
    found = read_own_inputs(options(table), new)
    graphs, identifiers = found.examples, found.identifiers
    assert isinstance(graphs, Graphs)
    np.testing.assert_array_equal(graphs.nodes, molecules.parse(["CCO", "c1ccccc1"]).graphs.nodes)
    assert identifiers.to_dict("list") == {
        "row": [0, 2], "smiles": ["CCO", "c1ccccc1"], "name": ["ethanol", "benzene"]
    }  # fmt: skip
    ((line, reason),) = found.left_out
    assert line == 3
    assert reason.startswith("'nothing' is no molecule to RDKit")
    new.write_text("smiles\nCCO\n")
    assert list(read_own_inputs(options(table), new).identifiers) == ["row", "smiles"]
    new.write_text("price,row,smiles\n01.50,seven,CCO\n")
    assert read_own_inputs(options(table), new).identifiers.to_dict("list") == {
        "price": ["01.50"], "row": ["seven"], "smiles": ["CCO"]
    }  # fmt: skip
    new.write_text("smiles\nnothing\n")
    with pytest.raises(UserError, match="none of the 1 SMILES in column smiles is a molecule"):
        read_own_inputs(options(table), new)


def test_keys_of_molecules_belong_to_molecules() -> None:
    with pytest.raises(
        UserError, match="unknown key 'invalid' in data, expected one of name, train_examples"
    ):
        check_data({"name": "digits", "validation_examples": 9, "invalid": "drop"})


def test_without_rdkit_a_sentence_says_what_to_install(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rdkit", None)
    smiles._parsed.cache_clear()
    with pytest.raises(UserError, match=r"pip install neural-kernels\[molecules\]"):
        open_dataset(options(table))


def test_molecules_are_parsed_once_for_check_and_preparation(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, parse = [], molecules.parse
    monkeypatch.setattr(smiles, "parse", lambda *arguments: calls.append(1) or parse(*arguments))
    smiles._parsed.cache_clear()
    check_data(options(table))
    prepare_data(options(table), tmp_path / "data", seed=0)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["molbace", "molesol"])
def test_real_molecules_are_those_of_ogb(name: str, shared_data: Callable[[str], Path]) -> None:
    folder = shared_data(f"ogb/ogbg_{name}")
    theirs = open_dataset({"name": "ogb", "path": str(folder)})
    mapping = {"name": "smiles", "path": str(folder / "mapping" / "mol.csv.gz"), "id_column": "mol_id"}
    for split in ({"method": "files", "folder": str(folder / "split" / "scaffold")}, {"method": "scaffold"}):
        ours = open_dataset(mapping | {"split": split})
        assert ours.task == theirs.task
        for one, other in (
            (ours.train, theirs.train),
            (ours.validation, theirs.validation),
            (ours.tests["test"](), theirs.tests["test"]()),
        ):
            (x, y), (x2, y2) = contents(one), contents(other)
            np.testing.assert_array_equal(x.nodes, x2.nodes)
            np.testing.assert_array_equal(x.node_offsets, x2.node_offsets)
            np.testing.assert_array_equal(x.edges, x2.edges)
            np.testing.assert_allclose(y, y2, rtol=1e-14)
