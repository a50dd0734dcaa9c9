"""YAML files as people write them, and what is refused in them."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from neural_kernels.errors import UserError
from neural_kernels.storage import strict_yaml
from neural_kernels.storage.strict_yaml import MOST_BYTES, read_yaml


def read(tmp_path: Path, text: str | bytes) -> Any:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def test_plain_values_are_what_they_look_like(tmp_path: Path) -> None:
    text = (
        "{a: 1, b: -2, c: 1.5, d: x, e: 'x', f: true, g: no, h: null, i: ~, j: [1, {k: 2}], l: '5', m: 1_000}"
    )
    expected = {
        "a": 1, "b": -2, "c": 1.5, "d": "x", "e": "x", "f": True, "g": False, "h": None, "i": None,
        "j": [1, {"k": 2}], "l": "5", "m": 1000,
    }  # fmt: skip
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-6", 1e-6),
        ("1E+3", 1000.0),
        ("2e3", 2000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("16.0", 16.0),
        ("+1.5e2", 150.0),
    ],
)
def test_exponents_need_no_point(tmp_path: Path, text: str, number: float) -> None:
    found = read(tmp_path, f"a: {text}")["a"]
    assert (found, type(found)) == (number, float)


@pytest.mark.parametrize(
    "text", ["010", "0x10", "1:30", "2020-01-01", "0b1", "nan", "inf", "1e", "e5", "1__0", "1_"]
)
def test_what_is_a_number_to_few_is_text(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"a: {text}") == {"a": text}


@pytest.mark.parametrize("text", ["-0.0", "-0", "0.0", "-.0e5"])
def test_negative_zero_is_zero(tmp_path: Path, text: str) -> None:
    assert str(read(tmp_path, f"a: {text}")["a"]) in ("0", "0.0")


def test_the_parser_in_python_gives_the_same_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{a: 1e-6, b: [yes, 010, ~], c: &x {d: 1.0}, e: {<<: *x, f: '1'}}"
    fast = read(tmp_path, text)

    class Slow(yaml.SafeLoader):
        yaml_implicit_resolvers = strict_yaml._Loader.yaml_implicit_resolvers

    monkeypatch.setattr(strict_yaml, "_Loader", Slow)
    assert read(tmp_path, text) == fast
    with pytest.raises(UserError, match="comes twice"):
        read(tmp_path, "a: 1\na: 2")


def test_keys_of_an_alias_are_taken_over_under_those_that_are_given(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: *a, x: 5}\nd: {z: 6, <<: [*a, *b]}"
    found = read(tmp_path, text)
    assert (found["c"], found["d"]) == ({"x": 5, "y": 2}, {"x": 1, "y": 2, "z": 6})


def test_what_an_alias_repeats_is_no_shared_value(tmp_path: Path) -> None:
    found = read(tmp_path, "a: &a {x: [1]}\nb: *a")
    found["a"]["x"].append(2)
    assert found["b"] == {"x": [1]}


LETTERS = "abcdefghijklmnopqrstuvwx"
CHAIN = "a: &a [1]\n" + "".join(f"{n}: &{n} [*{m}]\n" for m, n in itertools.pairwise(LETTERS))
LAUGHS = "a: &a x\n" + "".join(
    f"{b}: &{b} [{', '.join(9 * [f'*{a}'])}]\n" for a, b in itertools.pairwise(LETTERS)
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nb: 2\nseed: 3", "key 'seed' comes twice, in lines 1 and 3"),
        ("a:\n  b: 1\n  b: 2", "key 'b' comes twice in a, in lines 2 and 3"),
        ("a: &x {b: 1}\nc: {<<: *x, <<: *x}", "key '<<' comes twice in c"),
        ("1: a", "line 1: a key is 1, expected text"),
        ("a:\n  null: b", "line 2: a key in a is null, expected text"),
        ("true: a", "a key is true, expected text"),
        (".nan: a", "a key is .nan, expected text"),
        ("? [1]\n: a", "a key is a list or keys, expected text"),
        ("a: {b: .nan}", "a.b is .nan, expected a finite number"),
        ("a: [1, -.inf]", "a.1 is -.inf, expected a finite number"),
        ("a: 1e300", "a is 1e300, expected a number of at most 1e\\+15"),
        ("a: 1e999", "a is 1e999, expected a number of at most"),
        ("a: " + 5000 * "9", "a is 999+[.]{3}9+, expected a number of at most"),
        (LAUGHS, "more than 10,000 keys and values with what its aliases repeat"),
        ("a: &a [*a]", "a.0 holds an alias of itself"),
        ("a: &a {b: {c: *a}}", "a.b.c holds an alias of itself"),
        ("<<: &a {<<: *a}", "holds an alias of itself"),
        ("a: *b", "is not valid YAML: found undefined alias .line 1, column 4"),
        (100_000 * "[", "nested more than 20 deep"),
        (50_000 * "{a: ", "nested more than 20 deep"),
        (1000 * "- " + "a", "nested more than 20 deep"),
        (CHAIN, "nested more than 20 deep"),
        ("a: [" + 20_000 * "1, " + "1]", "more than 10,000 keys and values"),
        ("a: " + 20_000 * "x", "text of 20,000 characters, expected at most 10,000"),
        ("a: !!python/object/apply:os.system [x]", "the tag !!python/object/apply:os.system is not allowed"),
        ("a: !!python/name:os.system", "the tag !!python/name:os.system is not allowed"),
        ("a: !!set {x}", "the tag !!set is not allowed"),
        ("a: !!int x", "a is 'x', expected what its tag says, int"),
        ("a: !mine x", "the tag !mine is not allowed"),
        ("a: {<<: 3}", "<< is 3, expected an alias of keys"),
        ('a: "b\\0c"', "a has the character '.x00', expected printable text"),
        ('a: "\\e[2J"', "a has the character '.x1b', expected printable text"),
        ("a: [1,", "is not valid YAML: .*line 2, column 1"),
        ("--- 1\n--- 2", "expected a single document"),
        ("", "is empty, expected keys and their values"),
        ("# nothing", "is empty, expected keys and their values"),
        (b"a: \xff", "byte 3 is 0xff, expected text in UTF-8"),
        ("a: b".encode("utf-16"), "expected text in UTF-8"),
        (b"a: \0", "is not valid YAML"),
        (MOST_BYTES * b" " + b"a", "has more than 262,144 bytes"),
    ],
)  # fmt: skip
def test_what_would_hide_a_mistake_is_one_sentence(tmp_path: Path, text: bytes | str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as found:
        read(tmp_path, text)
    assert "mine.yaml" in str(found.value)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for path, sentence in [
        (tmp_path / "gone.yaml", "gone.yaml is missing"),
        (tmp_path / "folder.yaml", "is a folder, expected a YAML file"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (tmp_path / "gone.yaml" / "x.yaml", "is missing"),
    ]:
        with pytest.raises(UserError, match=sentence):
            read_yaml(path)


def test_a_file_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match="is no plain file"):
        read_yaml(tmp_path / "pipe.yaml")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a: 1".encode("utf-8-sig")) == {"a": 1}
