"""Small configs of every kind, what may be wrong in them, and runs of the command line that may not hang."""

from __future__ import annotations

import contextlib
import copy
import io
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from neural_kernels.cli import main

SECONDS = 30
"""After which a check of a config of some lines hangs, on any machine."""

BASE: dict[str, Any] = {
    "title": "Tiny",
    "seed": 1,
    "data": {
        "name": "digits",
        "train_examples": 64,
        "validation_examples": 20,
        "test_sets": {"digits": {"examples": 30}},
        "augmentation": {"factor": 1},
    },
    "preprocessing": {
        "plain": {"method": "standardize", "fit_examples": 40},
        "white": {"method": "zca", "regularization": 0.1, "per_image_normalization": True},
    },
    "kernels": {
        "FC": {
            "architecture": {"name": "FC", "depth": 2, "W_std": 1.5},
            "preprocessing": "plain",
            "kind": "nngp",
        },
        "Myrtle": {
            "architecture": {
                "name": "Myrtle",
                "convs_per_pool": [1, 1],
                "filter_size": 3,
                "layer_norm": False,
            },
            "preprocessing": "white",
            "block_edge": 16,
            "largest_training_size": 32,
        },
    },
    "precision": "float64",
    "engine": "native",
    "blocks": {"edge": 32, "tile": 16},
    "training_sizes": {"smallest": 16, "largest": 64, "factor": 2},
    "draws": 2,
    "ridge": {"log10_smallest": -6, "log10_largest": 0, "count": 4, "objective": "loss"},
    "solver": {
        "direct_up_to": 16,
        "tolerance": 1e-6,
        "max_iterations": 100,
        "preconditioner": {"method": "random", "rank": 10},
        "memory_gib": 1,
    },
    "fit": {"n_min": 16, "n_max": 64, "bootstrap": 100, "confidence": 0.9},
}
APPROXIMATIONS = {
    "approximations": {
        "methods": ["nystrom", "truncated_cg"],
        "sizes": [8, 16],
        "iterations": [1, 2],
        "jitter": {"candidates": [1e-6, 1e-3]},
        "draws": 2,
    }
}
TUNING = {
    "tuning": {
        "baseline": "Myrtle",
        "training_examples": 40,
        "trials": 5,
        "first_trials": [{"W_std": 1.5, "activation": "relu", "filter_size": 3}],
        "transfer": {"training_examples": 30, "trials": 2},
        "space": {
            "architecture": {
                "name": "Myrtle",
                "activation": {"choices": ["relu", "exp_normalized"]},
                "gamma": {"low": 0.25, "high": 4.0, "log": True, "when": {"activation": "exp_normalized"}},
                "W_std": {"low": 0.5, "high": 2.5},
                "filter_size": {"choices": [3, 5]},
                "dense_layers": {"low": 0, "high": 2, "integer": True},
                "convs_per_pool": {"choices": [[1, 1], [2, 2]]},
            },
            "preprocessing": {"method": "zca", "regularization": {"low": 1e-4, "high": 10.0, "log": True}},
            "kind": {"choices": ["nngp", "ntk"]},
        },
    }
}
TUNED = {
    "architecture": {"name": "FC", "depth": 1, "W_std": 1.5},
    "kind": "ntk",
    "preprocessing": {"method": "zca", "regularization": 0.3},
    "ridge": 1e-3,
}
COMPARISON = {
    "title": "Several",
    "note": "for orientation",
    "splits": {"one": "base", "two": None},
    "test_set": "digits",
    "published": [{"name": "Theirs", "source": "a paper", "values": {"one": 0.5}}],
}
TABLE = {
    "title": "Table",
    "test_sets": ["digits"],
    "printed_in": "a paper",
    "architectures": [
        {
            "name": "FC",
            "runs": ["base/FC"],
            "published": [
                {"method": "none", "label": "CG", "source": "them", "n": "64", "accuracy": {"digits": 64.1}}
            ],
        }
    ],
}
# Of each kind the config that is checked; the file that is mutated is the same but for tuned.yaml.
KINDS: dict[str, dict[str, Any]] = {
    "study": BASE,
    "approximations": {**BASE, **APPROXIMATIONS},
    "tuning": {**BASE, **TUNING},
    "guest": {"title": "Guest", "kernels_from": "base", "use_kernels": ["FC"], "draws": 1},
    "like": {
        "title": "Mine",
        "like": "base",
        "data": {"name": "digits", "train_examples": 60, "validation_examples": 20},
        "training_sizes": {"largest": 60},
    },
    "comparison": COMPARISON,
    "table": TABLE,
    "tuned": TUNED,
}

# Text as it stands in a file.
HOSTILE = (
    ".nan", ".inf", "-.inf", "1e300", "-1e300", "1e-300", "1e999", "1000000000", "99999999999999999999", "9" * 5000,
    "-1", "0", "-0.0", "16.0", "16.5", "1.0000000001", "1e-6", "1_000", "010", "0x10", "1:30", "2020-01-01", "true",
    "null", "''", "'16'", "nan", "[]", "{}", "[[]]", "[1, 1.0]", "[.nan]", "[true]", "{1: 2}", "{null: 3}",
    "{true: 4}", "{.nan: 5}", "{a: 1, a: 2}", "[1, 1]", "../../x", "/etc/passwd", "'a/b'", "'x`touch pwned`'",
    "'$(touch pwned)'", "'a\n b'", r'"\0"', r'"\x1b[2J"', r'"$\\frac{$"', "x" * 300,
    "!!python/object/apply:os.getcwd []",
    "!!set {a}", "!!binary aGk=", "&a [*a]", "*nowhere", "{<<: 3}", "{<<: [{a: 1}, {a: 2}]}", "[" * 500, "{a: " * 300,
    "Ω", "'\U0001f600'", "[low, high]", "{low: 1, high: 0}", "{choices: []}", "{choices: [1, 1.0]}",
    "{choices: [[], {}]}", "{low: 1.0, high: 3.0, integer: true}", "{choices: [3], when: {activation: []}}",
    "{low: -.inf, high: .inf}", "{low: 0, high: 1, log: true}", "[" + "1, " * 5000 + "1]",
)  # fmt: skip

NAMES = (
    "x`y`",
    "../x",
    "a" * 300,
    "",
    "a\nb",
    "train",
    "é",
    ".hidden",
    "1",
    "null",
    "<<",
    "name",
    "file",
    "tuned",
)


class Hang(BaseException):
    """A check that takes longer than any may."""


@dataclass(frozen=True)
class Outcome:
    status: int
    stderr: str


@contextlib.contextmanager
def hang_guard(seconds: int = SECONDS) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(arguments: list[str]) -> Outcome:
    """The command line in this process; an exception other than that of argparse goes through."""
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()), hang_guard():
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Outcome(status, stderr.getvalue())


def is_in_order(outcome: Outcome) -> bool:
    """Exit status 0, or 2 after one sentence."""
    lines = outcome.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    others = [
        line
        for line in lines
        if line not in errors and not line.startswith(("engine ", "results/", "study "))
    ]
    if outcome.status == 0:
        return not errors
    return outcome.status == 2 and len(errors) == 1 and errors[0] == lines[-1] and not others


def text_of(config: Any, raw: dict[str, str] | None = None) -> str:
    """``config`` as YAML, the strings that are keys of ``raw`` replaced by text as it is to stand there."""
    text = yaml.safe_dump(config, sort_keys=False, width=10**6, allow_unicode=True)
    for placeholder, value in (raw or {}).items():
        text = text.replace(placeholder, value)
    return text


def make_folder(folder: Path) -> None:
    """A config folder with what configs of every kind name."""
    for kind in ("comparisons", "tables"):
        (folder / kind).mkdir(parents=True)
    (folder / "base.yaml").write_text(text_of(BASE))
    (folder / "uses_tuned.yaml").write_text(
        text_of({**BASE, "kernels": {"T": {"tuned": str(folder / "tuned.yaml")}}})
    )


def check_config(folder: Path, kind: str, content: bytes) -> Outcome:
    """``neural-kernels check`` of a config of one kind with this content; fails where a file was written."""
    others = {
        "comparison": folder / "comparisons" / "mine.yaml",
        "table": folder / "tables" / "mine.yaml",
        "tuned": folder / "tuned.yaml",
    }
    path = others.get(kind, folder / "mine.yaml")
    path.write_bytes(content)
    checked = folder / "uses_tuned.yaml" if kind == "tuned" else path
    before = sorted(folder.rglob("*"))
    outcome = run(["check", str(checked), "--results", str(folder / "results")])
    assert sorted(folder.rglob("*")) == before
    return outcome


def places(config: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where there is a value in a config: its keys and places in lists, from outside."""
    found = [above] if above else []
    items = (
        config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    )
    for key, value in items:
        found += places(value, (*above, key))
    return found


def changed(config: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A copy of ``config`` with another value at ``place``."""
    copied = copy.deepcopy(config)
    container = copied
    for key in place[:-1]:
        container = container[key]
    container[place[-1]] = value
    return copied
