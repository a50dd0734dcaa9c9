"""Sections of a config: what is read is what was written, every key is described, and no other is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hostile_configs import APPROXIMATIONS, BASE, COMPARISON, TABLE, TUNING, changed, places
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.datasets import DATASETS, options_of
from neural_kernels.datasets.augmentation import Augmentation
from neural_kernels.errors import UserError
from neural_kernels.sections import Section, parse
from neural_kernels.study import reference
from neural_kernels.study.approximation_settings import ApproximationsSection
from neural_kernels.study.config_files import names
from neural_kernels.study.published_table import TableFile
from neural_kernels.study.sections import Sections
from neural_kernels.study.split_comparison import ComparisonFile
from neural_kernels.study.study import load_study
from neural_kernels.tuning.settings import TuningSection

ROOT = Path(__file__).parents[2]
TASKS = {"tasks": {"published": [{"name": "Others", "metric": "rmse", "value": 1, "source": "a paper"}]}}
WHOLE: dict[str, Any] = {**BASE, **APPROXIMATIONS, **TUNING, **TASKS}


DEFERRED = (ApproximationsSection, TuningSection, Augmentation)


def kinds(kind: Any = (Sections, ComparisonFile, TableFile, *DEFERRED)) -> Iterator[type[Section]]:
    """Every section that may be in a file, those in it included."""
    for member in kind if isinstance(kind, tuple) else get_args(kind):
        if isinstance(member, type) and issubclass(member, Section):
            yield member
            for field in member.model_fields.values():
                yield from kinds((field.annotation,))
        else:
            yield from kinds(member)


def test_every_key_of_every_section_is_described() -> None:
    found: set[type[Section]] = {*kinds(), *map(options_of, DATASETS)}
    assert len(found) > 25
    for kind in found:
        assert kind.__doc__ not in (None, Section.__doc__), kind
        for key, field in kind.model_fields.items():
            assert (field.description or "").endswith("."), (kind, key)


def test_what_is_documented_is_what_the_code_says() -> None:
    for name, text in reference.contents().items():
        where = "write it again: python -m neural_kernels.study.reference docs"
        assert (ROOT / "docs" / name).read_text() == text, where


def test_studies_that_ship_are_the_same_when_they_are_written_and_read_again() -> None:
    for name in names(ROOT / "config"):
        sections = load_study(ROOT / "config" / f"{name}.yaml").sections
        plain = sections.plain()
        assert json.loads(json.dumps(plain)) == plain
        again = parse(
            name, Sections, {key: plain[key] for key in plain if key != "kernels"} | own_kernels(plain)
        )
        assert again == sections.model_copy(update={"kernels": again.kernels})
        assert again.plain() == plain | own_kernels(plain)


def own_kernels(plain: dict[str, Any]) -> dict[str, Any]:
    """Kernels without the file that what was tuned came from: beside it nothing may stand."""
    kernels = {
        name: {key: value for key, value in kernel.items() if key != "tuned"}
        for name, kernel in plain["kernels"].items()
    }
    return {"kernels": kernels}


NUMBERS = [place for place in places(WHOLE) if place[0] not in ("kernels", "tuning")]


@given(st.sampled_from(NUMBERS), st.integers(1, 60) | st.floats(0.01, 0.9) | st.booleans())
def test_whatever_is_taken_is_the_same_when_it_is_written_and_read_again(
    place: tuple[int | str, ...], value: bool | float
) -> None:
    try:
        sections = parse("mine.yaml", Sections, changed(WHOLE, place, value))
    except UserError:
        return
    assert parse("mine.yaml", Sections, sections.plain()) == sections
    assert parse("mine.yaml", Sections, sections.plain()).plain() == sections.plain()


def sections_of(config: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [above] if isinstance(config, dict) else []
    items = (
        config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    )
    return found + [place for key, value in items for place in sections_of(value, (*above, key))]


# Where any name may stand, or what is checked elsewhere.
FREE = (("preprocessing",), ("kernels",), ("data", "test_sets"), ("splits",))
CASES = [
    (kind, config, place)
    for kind, config in ((Sections, WHOLE), (ComparisonFile, COMPARISON), (TableFile, TABLE))
    for place in sections_of(config)
    if place not in FREE
    and not {"architecture", "first_trials", "values", "accuracy", "regularization", "kind"} & set(place)
]


@pytest.mark.parametrize(("kind", "config", "place"), CASES)
def test_an_unknown_key_is_refused_in_every_section(
    kind: type[Section], config: dict[str, Any], place: tuple[int | str, ...]
) -> None:
    with pytest.raises(UserError) as caught:
        parse("mine.yaml", kind, changed(config, (*place, "titel"), 1))
    where = ".".join(map(str, place)) or "the file"
    assert f"mine.yaml: unknown key 'titel' in {where}" in str(caught.value)
    assert ", expected one of " in str(caught.value)


def test_the_nearest_name_is_given() -> None:
    with pytest.raises(
        UserError, match=r"unknown key 'tolerence' in solver \(similar: tolerance\), expected"
    ):
        parse("mine.yaml", Sections, BASE | {"solver": {"tolerence": 1e-3}})


def test_a_section_cannot_be_changed() -> None:
    sections = parse("mine.yaml", Sections, BASE)
    with pytest.raises(ValueError, match="frozen"):
        sections.solver.tolerance = 1e-3  # type: ignore[misc]
