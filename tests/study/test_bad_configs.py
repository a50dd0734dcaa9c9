"""Whatever stands in a config: it is in order, or one sentence says what is not; nothing is written, nothing hangs."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile_configs import (
    APPROXIMATIONS,
    BASE,
    COMPARISON,
    HOSTILE,
    KINDS,
    NAMES,
    TABLE,
    TUNED,
    TUNING,
    changed,
    check_config,
    is_in_order,
    make_folder,
    places,
    text_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_kernels.study.config_files import names

# More of them once in a while: NEURAL_KERNELS_FUZZ_EXAMPLES=20000.
EXAMPLES = int(os.environ.get("NEURAL_KERNELS_FUZZ_EXAMPLES", "300"))
FUZZ = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
MOST_MEMORY_GROWTH = 500 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "config"
    folder.mkdir()
    make_folder(folder)
    return folder


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "comparison"])
def test_what_is_mutated_here_is_in_order(folder: Path, kind: str) -> None:
    outcome = check_config(folder, kind, text_of(KINDS[kind]).encode())
    assert (outcome.status, is_in_order(outcome)) == (0, True), outcome.stderr
    (folder / "tuned.yaml").write_text(text_of(TUNED))


# ----------------------------------------------------------------------------------------- instances


def at(place: str, value: str, config: dict[str, Any] = BASE) -> str:
    """The config with ``value``, as it stands in a file, at a place as ridge.count."""
    keys = [int(key) if key.isdecimal() else key for key in place.split(".")]
    return text_of(changed(config, tuple(keys), "RAW0"), {"RAW0": value})


TEXT = text_of(BASE)
WITH_APPROXIMATIONS, WITH_TUNING = {**BASE, **APPROXIMATIONS}, {**BASE, **TUNING}
DEPTH, FILTER = "kernels.FC.architecture.depth", "kernels.Myrtle.architecture.filter_size"
SPACE = "tuning.space.architecture"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        # Numbers that are none, or huge.
        (at("ridge.log10_smallest", ".nan"), "ridge.log10_smallest is .nan, expected a finite number"),
        (at("solver.memory_gib", ".inf"), "solver.memory_gib is .inf, expected a finite number"),
        (at("solver.memory_gib", "1e300"), "solver.memory_gib is 1e300, expected a number of at most"),
        (at("solver.memory_gib", "1e-9"), "solver.memory_gib is 1e-09, but the direct solve of n = 16 takes"),
        (at("ridge.count", "1000000000"), "ridge.count: 1000000000 is greater than the maximum of 1000"),
        (at("ridge.log10_largest", "400"), "ridge.log10_largest: 400 is greater than the maximum"),
        (at("ridge.log10_largest", "-7"), "ridge goes from log10_smallest -6 to log10_largest -7"),
        (at("draws", "1000000000"), "draws: 1000000000 is greater than the maximum"),
        (at("seed", "99999999999"), "seed: 99999999999 is greater than the maximum"),
        (at("blocks.edge", "0"), "blocks.edge: 0 is less than the minimum of 1"),
        (at("solver.tolerance", "0"), "solver.tolerance: 0 is less than the minimum"),
        (at("solver.tolerance", "1.5"), "solver.tolerance: 1.5 is greater than or equal to the maximum"),
        (at("solver.tolerance", "-1e-6"), "solver.tolerance: -1e-06 is less than the minimum"),
        (at("fit.n_max", "8"), "fit.n_min is 16, expected at most fit.n_max, 8"),
        (at("training_sizes.factor", "1.0000000001"), "training_sizes.factor is 1.0000000001, which gives 1e+10 sizes"),
        (at("training_sizes.factor", "1"), "training_sizes.factor: 1 is less than or equal to the minimum of 1"),
        (at("training_sizes", "{sizes: []}"), "training_sizes.sizes has 0, expected at least 1 entries"),
        (at("training_sizes", "{sizes: [16, 16.0]}"), "training_sizes.sizes has 16.0 twice"),
        (at("training_sizes", "{sizes: [true]}"), "training_sizes.sizes.0 is True, expected integer"),
        (at("preprocessing.plain.fit_examples", "65"), "fit_examples is 65, expected at most the 64 training"),
        (at("data.train_examples", "1000000000").replace("edge: 32", "edge: 1").replace("est: 64", "est: 1000000"),
         "kernel FC has 500,050,500,000 blocks of edge 1 at n = 1000000, expected at most 1,000,000"),
        (at("approximations.draws", "1000000000", WITH_APPROXIMATIONS), "approximations.draws: 1000000000 is greater"),
        (at("tuning.trials", "1000000000", WITH_TUNING), "tuning.trials: 1000000000 is greater than the maximum"),
        # What only looks like a number, or like something else.
        (at("blocks.edge", "'16'"), "blocks.edge is '16', expected integer"),
        (at("blocks.edge", "16.5"), "blocks.edge is 16.5, expected integer"),
        (at("blocks.edge", "true"), "blocks.edge is True, expected integer"),
        (at("blocks.edge", "010"), "blocks.edge is '010', expected integer"),
        (at("solver.memory_gib", "true"), "solver.memory_gib is True, expected number"),
        (at("kernels.FC.architecture.W_std", "true"), "W_std is True, expected a number"),
        (at("seed", "2020-01-01"), "seed is '2020-01-01', expected integer"),
        (at("title", "2020"), "title is 2020, expected string"),
        # Architectures at their limits.
        (at(DEPTH, "0"), "depth is 0, expected an integer from 1 to 1000"),
        (at(DEPTH, "-1"), "depth is -1, expected an integer from 1 to 1000"),
        (at(DEPTH, "1000000000"), "depth is 1000000000, expected an integer from 1 to 1000"),
        (at(FILTER, "-3"), "filter_size is -3, expected an odd positive number"),
        (at(FILTER, "4.0"), "filter_size is 4, expected an odd positive number"),
        (at(FILTER, "1000001"), "filter_size is 1000001, expected an integer from 1 to 999"),
        (at("kernels.Myrtle.architecture.convs_per_pool", "[]"), "convs_per_pool is [], expected a list of integers"),
        (at("kernels.Myrtle.architecture.convs_per_pool", "[1, 1, 1, 1, 1]"), "AvgPool of window 2 does not divide"),
        (at("kernels.Myrtle.architecture.layer_norm", "'false'"), "layer_norm is 'false', expected true or false"),
        (at("kernels.FC.architecture.W_std", "-1.5"), "W_std is -1.5, expected a positive number"),
        # YAML.
        (TEXT + "seed: 2\n", "key 'seed' comes twice"),
        (TEXT.replace("  edge: 32", "  edge: 32\n  edge: 33"), "key 'edge' comes twice in blocks"),
        (TEXT + "1: 2\n", "a key is 1, expected text"),
        (TEXT + "null: 2\n", "a key is null, expected text"),
        (at("blocks", "{true: 4}"), "a key in blocks is true, expected text"),
        (at("title", "!!python/object/apply:os.system ['touch pwned']"), "apply:os.system is not allowed"),
        (at("data.augmentation", "&a {factor: *a}"), "data.augmentation.factor holds an alias of itself"),
        (at("title", 1000 * "["), "nested more than 20 deep"),
        (at("title", '"a\\0b"'), "title has the character '\\x00'"),
        (at("title", r"'$\frac{$'"), "title is '$\\\\frac{$', expected a formula between its dollars"),
        (at("title", 1000 * "x"), "title has 1000, expected at most 300 characters"),
        ("[1, 2]", "the file is [1, 2], expected object"),
        ("", "is empty, expected keys and their values"),
        # Names.
        ("{title: t, like: ../../x}", "like: '../../x' cannot be a name"),
        ("{title: t, like: 'base\n\n'}", "like: 'base\\n' cannot be a name"),
        ("{title: t, kernels_from: /etc/passwd}", "kernels_from: '/etc/passwd' cannot be a name"),
        ("{title: t, kernels_from: " + 300 * "a" + "}", "cannot be a name"),
        ("{title: t, like: bsae}", "there is no study bsae"),
        (TEXT.replace("  FC:", "  'F/C':"), "kernels: 'F/C' cannot be a name"),
        (TEXT.replace("  FC:", '  "FC\\n":'), "kernels: 'FC\\n' cannot be a name"),
        (TEXT.replace("  FC:", "  '$(touch pwned)':"), "kernels: '$(touch pwned)' cannot be a name"),
        (TEXT.replace("plain", "../plain"), "preprocessing: '../plain' cannot be a name"),
        (TEXT.replace("    digits:", "    train:"), "data.test_sets: 'train' cannot be a name"),
        (TEXT.replace("    digits:", "    a.b:"), "data.test_sets: 'a.b' cannot be a name"),
        (at("kernels.FC", "{tuned: '/'}"), "kernels.FC: / is a folder, expected a YAML file"),
        (at("kernels.FC", "{tuned: " + 300 * "a" + "}"), "cannot be read: File name too long"),
        (at("kernels.FC.architecture", "{file: /dev/zero}"), "/dev/zero is no plain file"),
        # What would stop a later stage.
        (TEXT + "tasks: {}\n", "has the section tasks, but the data is a classification"),
        (at("ridge.objective", "mse"), "ridge.objective is 'mse', but the data is a classification"),
        (at("tuning.objective", "mse", WITH_TUNING | {"tuning": TUNING["tuning"] | {"objective": ""}}),
         "tuning.objective is 'mse', but the data is a classification"),
        (at("tuning.first_trials.0.filter_size", "true", WITH_TUNING), "filter_size is True, expected one of 3, 5"),
        (at(f"{SPACE}.filter_size", "{choices: []}", WITH_TUNING), "choices is [], expected a list of 1 to 1000"),
        (at(f"{SPACE}.filter_size", "{choices: [3, 3.0]}", WITH_TUNING), "choices has a value twice"),
        (at(f"{SPACE}.filter_size", "{choices: [3, 1001]}", WITH_TUNING), "filter_size is 1001, expected an integer"),
        (at(f"{SPACE}.W_std", "{low: 0.5, high: .inf}", WITH_TUNING), "W_std.high is .inf, expected a finite number"),
        (at(f"{SPACE}.gamma.when.activation", "[]", WITH_TUNING), "when.activation is [], expected a choice"),
        (at("tuning.space.kind", "{choices: [[ntk]]}", WITH_TUNING), "expected choices of nngp and ntk"),
    ],
)  # fmt: skip
def test_a_bad_study_is_one_sentence_that_names_the_key(folder: Path, text: str, sentence: str) -> None:
    outcome = check_config(folder, "study", text.encode())
    assert is_in_order(outcome), outcome.stderr
    assert outcome.status == 2
    assert sentence in outcome.stderr, outcome.stderr
    assert not list(Path.cwd().glob("pwned*"))


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        ("comparison", at("splits.one", "../base", COMPARISON), "splits.one: '../base' cannot be a name"),
        ("comparison", at("splits.one", "gone", COMPARISON), "splits.one is 'gone', expected a study"),
        (
            "comparison",
            at("published.0.values.one", ".nan", COMPARISON),
            "published.0.values.one is .nan, expected",
        ),
        (
            "comparison",
            text_of(COMPARISON),
            "is a classification of 10 outputs, expected a regression of one",
        ),
        ("comparison", at("splits", "{}", COMPARISON), "splits has 0, expected at least 1 keys"),
        ("table", at("architectures.0.runs.0", "../x/FC", TABLE), "expected text of the form"),
        ("table", at("architectures.0.runs.0", "x`y`/FC", TABLE), "'x`y`' cannot be a name"),
        ("table", at("architectures.0.runs.0", "base/CF", TABLE), "study base has no kernel 'CF'"),
        ("table", at("architectures.0.runs.0", "gone/CF", TABLE), "there is no study gone"),
        (
            "table",
            at("architectures.0.published.0.accuracy.digits", "1e300", TABLE),
            "is 1e300, expected a number",
        ),
        ("tuned", at("architecture.depth", "0", TUNED), "depth is 0, expected an integer from 1"),
        ("tuned", at("architecture", "[]", TUNED), "has no section architecture"),
        ("tuned", at("kind", "[ntk]", TUNED), "kind is ['ntk'], expected one of nngp, ntk"),
        (
            "tuned",
            at("preprocessing.regularization", ".nan", TUNED),
            "regularization is .nan, expected a finite",
        ),
        ("tuned", text_of(TUNED) + "kind: ntk\n", "key 'kind' comes twice"),
    ],
)
def test_so_is_one_of_every_other_kind(folder: Path, kind: str, text: str, sentence: str) -> None:
    outcome = check_config(folder, kind, text.encode())
    assert is_in_order(outcome), outcome.stderr
    assert outcome.status == 2
    assert sentence in outcome.stderr, outcome.stderr


def laughs() -> str:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (laughs().encode(), "keys and values with what its aliases repeat"),
        (TEXT.encode() + b"\xff", "expected text in UTF-8"),
        (10**8 * b"#", "has more than 262,144 bytes"),
        (5 * 10**4 * b"{a: ", "nested more than 20 deep"),
    ],
)
def test_a_file_that_is_no_config_costs_no_time_and_no_memory(
    folder: Path, content: bytes, sentence: str
) -> None:
    outcome = check_config(folder, "study", content)
    assert is_in_order(outcome), outcome.stderr
    assert sentence in outcome.stderr


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("blocks.edge", "16.0", 16), ("training_sizes.smallest", "16.0", 16), ("seed", "3.0", 3), ("draws", "2.0", 2),
        ("ridge.count", "4.0", 4), ("solver.preconditioner.rank", "1e1", 10), ("solver.tolerance", "1e-8", 1e-8),
        ("data.test_sets.digits.examples", "30.0", 30), ("preprocessing.plain.fit_examples", "1_0", 10),
        ("kernels.Myrtle.block_edge", "16.0", 16), ("seed", "-0.0", 0),
    ],
)  # fmt: skip
def test_whole_numbers_are_integers_however_they_are_written(
    folder: Path, place: str, value: str, expected: float
) -> None:
    from neural_kernels.study.study import load_study

    (folder / "mine.yaml").write_text(at(place, value))
    found: Any = load_study(folder / "mine.yaml").sections.plain()
    for key in place.split("."):
        found = found[key]
    assert (found, type(found)) == (expected, type(expected))


# ------------------------------------------------------------------------------------------------ fuzz


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A kind of config, and a config of that kind with some values, keys or lines changed."""
    kind = draw(st.sampled_from(list(KINDS)))
    config, raw = KINDS[kind], {}
    for number in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(config)))
        placeholder = f"RAW{number}X"
        hostile = (
            st.sampled_from(HOSTILE) | st.floats().map(repr) | st.integers().map(str) | st.text().map(repr)
        )
        match draw(st.sampled_from(["value", "key", "wrap", "remove", "unknown"])):
            case "value":
                config, raw[placeholder] = changed(config, place, placeholder), draw(hostile)
            case "wrap":
                value: Any = config
                for key in place:
                    value = value[key]
                config = changed(
                    config, place, draw(st.sampled_from([[value], {"a": value}, [value, value]]))
                )
            case how:
                config = _without(config, place)
                if how != "remove":
                    above = place[:-1]
                    name = draw(st.sampled_from(NAMES) | st.text(max_size=5)) if how == "key" else "blok"
                    if isinstance(_value(config, above), dict):
                        config = changed(config, (*above, name), placeholder)
                        raw[placeholder] = draw(hostile)
        if not places(config):
            break
    return kind, text_of(config, raw).encode("utf-8", "surrogatepass")


def _value(config: Any, place: tuple[str | int, ...]) -> Any:
    for key in place:
        config = config[key]
    return config


def _without(config: Any, place: tuple[str | int, ...]) -> Any:
    """``config`` without what is at ``place``."""
    container = _value(config, place[:-1])
    items = [item for key, item in enumerate(container) if key != place[-1]] if isinstance(container, list) else {
        key: item for key, item in container.items() if key != place[-1]
    }  # fmt: skip
    return items if len(place) == 1 else changed(config, place[:-1], items)


@FUZZ
@given(mutated())
def test_a_config_with_other_values_and_keys_is_in_order_or_one_sentence(
    folder: Path, case: tuple[str, bytes]
) -> None:
    kind, content = case
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = check_config(folder, kind, content)
    assert is_in_order(outcome), outcome.stderr
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MOST_MEMORY_GROWTH


TOKENS = (
    b"\n",
    b"- ",
    b"{",
    b"[",
    b"*a",
    b"&a ",
    b"<<: ",
    b"? ",
    b": ",
    b"'",
    b'"',
    b"|",
    b"!!",
    b"%",
    b"\t",
    b"9",
)


@FUZZ
@given(
    st.sampled_from(list(KINDS)),
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8) | st.sampled_from(TOKENS)),
        min_size=1,
        max_size=4,
    ),
)
def test_a_config_with_other_bytes_is_in_order_or_one_sentence(
    folder: Path, kind: str, edits: list[tuple[float, int, bytes]]
) -> None:
    content = text_of(KINDS[kind]).encode()
    for where, length, inserted in edits:
        start = int(where * len(content))
        content = content[:start] + inserted + content[start + length :]
    outcome = check_config(folder, kind, content)
    assert is_in_order(outcome), outcome.stderr


def test_what_is_checked_here_is_what_people_write() -> None:
    """The configs above have the keys of those that ship."""
    shipped = set()
    folder = Path(__file__).parents[2] / "config"
    for path in (folder / f"{name}.yaml" for name in names(folder)):
        shipped |= yaml.safe_load(path.read_text()).keys()
    here = set().union(*KINDS.values())
    assert shipped - here <= {"tasks"}
