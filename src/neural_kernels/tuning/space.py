"""The search space: which hyperparameters a trial draws, and the candidate that they make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from neural_kernels.engines import Kind
from neural_kernels.errors import UserError
from neural_kernels.preprocessing import options as preprocessing_options
from neural_kernels.storage.strict_yaml import shown
from neural_kernels.tuning.candidate import Candidate

Section = Literal["architecture", "preprocessing", "kind"]

MOST_CHOICES = 1000

DIGITS = 4
"""Significant digits of a number that is drawn from a range: what a person would write into a config."""


class Trial(Protocol):
    """What a space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: list[str]) -> Any: ...
    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...
    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...


@dataclass(frozen=True)
class Choices:
    """One of some values of any kind: numbers, names, switches, lists."""

    values: tuple[Any, ...]

    @property
    def labels(self) -> list[str]:
        """Each value as JSON text: what the journal holds."""
        return [json.dumps(value) for value in self.values]


@dataclass(frozen=True)
class Range:
    """A number between ``low`` and ``high``, both included."""

    low: float
    high: float
    log: bool
    integer: bool


@dataclass(frozen=True)
class Hyperparameter:
    """A name, where it belongs, what it may be, and the choices of others on which alone it exists."""

    name: str
    section: Section
    domain: Choices | Range
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def draw(self, trial: Trial) -> Any:
        match self.domain:
            case Choices(values=values):
                labels = self.domain.labels
                return values[labels.index(trial.suggest_categorical(self.name, labels))]
            case Range(low=low, high=high, log=log, integer=True):
                return trial.suggest_int(self.name, int(low), int(high), log=log)
            case Range(low=low, high=high, log=log):
                drawn = float(f"{trial.suggest_float(self.name, low, high, log=log):.{DIGITS}g}")
                return min(max(drawn, low), high)

    def ends(self) -> list[Any]:
        """Values at which the family has to accept it: every choice, or both ends of a range."""
        if isinstance(self.domain, Choices):
            return list(self.domain.values)
        ends = [self.domain.low, self.domain.high]
        return [int(end) for end in ends] if self.domain.integer else ends


@dataclass(frozen=True)
class SearchSpace:
    """The hyperparameters, those that depend on others last, and what is fixed beside them."""

    hyperparameters: tuple[Hyperparameter, ...]
    fixed: Mapping[Section, Mapping[str, Any]]

    def draw(self, trial: Trial) -> dict[str, Any]:
        """Hyperparameters of one trial by name; without those whose condition does not hold."""
        values: dict[str, Any] = {}
        for hyperparameter in self.hyperparameters:
            if all(values.get(name) in allowed for name, allowed in hyperparameter.when.items()):
                values[hyperparameter.name] = hyperparameter.draw(trial)
        return values

    def check(self, where: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters by name as a trial would draw them; refuses others. ``where`` starts the sentence."""
        known = {hyperparameter.name: hyperparameter for hyperparameter in self.hyperparameters}
        found = {}
        for name, value in values.items():
            if name not in known:
                raise UserError(f"{where} names {name!r}, expected hyperparameters: {', '.join(known)}")
            match domain := known[name].domain:
                case Choices():
                    labels = [_label(choice) for choice in domain.values]
                    allowed, expected = _label(value) in labels, f"one of {', '.join(domain.labels)}"
                    if allowed:
                        value = domain.values[labels.index(_label(value))]
                case Range(low=low, high=high, integer=integer):
                    value = whole(value) if integer else value
                    numbers = int if integer else int | float
                    allowed = (
                        not isinstance(value, bool) and isinstance(value, numbers) and low <= value <= high
                    )
                    expected = f"{'a whole number' if integer else 'a number'} from {low} to {high}"
            if not allowed:
                raise UserError(f"{where}: {name} is {value!r}, expected {expected}")
            found[name] = value
        return found

    def stored(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` by name as the journal holds them."""
        domains = {hyperparameter.name: hyperparameter.domain for hyperparameter in self.hyperparameters}
        return {
            name: json.dumps(value) if isinstance(domains[name], Choices) else value
            for name, value in values.items()
        }

    def candidate(self, values: Mapping[str, Any]) -> Candidate:
        """The candidate that ``values`` by name make with what is fixed."""
        sections = {section: dict(self.fixed[section]) for section in get_args(Section)}
        for hyperparameter in self.hyperparameters:
            if hyperparameter.name in values:
                sections[hyperparameter.section][hyperparameter.name] = values[hyperparameter.name]
        kind: Kind = sections["kind"]["kind"]
        return Candidate(sections["architecture"], kind, sections["preprocessing"])

    def corners(self) -> Iterator[dict[str, Any]]:
        """Each hyperparameter at each of its ends, the others at their first: enough to find what is refused."""
        first = {h.name: h.ends()[0] for h in self.hyperparameters if not h.when}
        for hyperparameter in self.hyperparameters:
            needed = {name: allowed[0] for name, allowed in hyperparameter.when.items()}
            for end in hyperparameter.ends():
                yield {**first, **needed, hyperparameter.name: end}


def parse_space(where: str, section: Mapping[str, Any]) -> SearchSpace:
    """The space of a study's section ``tuning.space``.

    A value is fixed, ``{choices: [...]}``, or ``{low: , high: }`` with ``log`` and ``integer``; those two may
    have ``when: {<name>: <choice or choices>}``.

    Args:
        where: starts the sentence of an error: the config and the section.

    Raises:
        UserError: a value that is none of these, a condition on what is no free choice, a preprocessing or a
            kind that cannot be searched so, or an architecture that its family refuses at some end of the space.
    """
    fixed: dict[Section, dict[str, Any]] = {"architecture": {}, "preprocessing": {}, "kind": {}}
    found: list[Hyperparameter] = []
    groups: dict[Section, Mapping[str, Any]] = {
        "architecture": section["architecture"],
        "preprocessing": section["preprocessing"],
        "kind": {"kind": section["kind"]},
    }
    for part, values in groups.items():
        for name, value in values.items():
            if isinstance(value, dict):
                found.append(_hyperparameter(_place(where, part, name), name, part, value))
            else:
                fixed[part][name] = value
    if not found:
        raise UserError(f"{where} has no hyperparameter, expected choices or a range somewhere")
    used = preprocessing_options.KEYS[fixed["preprocessing"]["method"]]
    fixed["preprocessing"] = {key: value for key, value in fixed["preprocessing"].items() if key in used}
    free = {h.name: h for h in found if not h.when}
    for hyperparameter in found:
        at = _place(where, hyperparameter.section, hyperparameter.name)
        _check_section(at, hyperparameter, fixed["preprocessing"]["method"])
        _check_condition(at, hyperparameter, free)
    if fixed["kind"].get("kind", "ntk") not in get_args(Kind):
        raise UserError(f"{where}.kind is {section['kind']!r}, expected nngp, ntk or choices of them")
    space = SearchSpace(tuple(sorted(found, key=lambda h: bool(h.when))), fixed)
    for values in space.corners():
        try:
            space.candidate(values).build()
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return space


def whole(value: Any) -> Any:
    """3 for 3.0, in lists too; anything else as it is."""
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _label(value: Any) -> str:
    """The same text for values that are the same to an architecture, 3 and 3.0, and another for 1 and true."""
    return json.dumps(whole(value), sort_keys=True)


def _place(where: str, section: Section, name: str) -> str:
    return f"{where}.{name}" if section == name else f"{where}.{section}.{name}"


def _hyperparameter(where: str, name: str, section: Section, value: dict[str, Any]) -> Hyperparameter:
    conditions = value.get("when", {})
    if not isinstance(conditions, dict):
        raise UserError(f"{where}.when is {conditions!r}, expected hyperparameters and their values")
    for other, allowed in conditions.items():
        if allowed == []:
            raise UserError(f"{where}.when.{other} is [], expected a choice or some of them")
    when = {
        other: tuple(allowed) if isinstance(allowed, list) else (allowed,)
        for other, allowed in conditions.items()
    }
    keys = value.keys() - {"when"}
    if keys == {"choices"}:
        return Hyperparameter(name, section, _choices(where, value["choices"]), when)
    if {"low", "high"} <= keys <= {"low", "high", "log", "integer"}:
        return Hyperparameter(name, section, _range(where, value), when)
    found = ", ".join(value) or "none"
    raise UserError(f"{where} has the keys {found}; expected choices, or low and high with log and integer")


def _choices(where: str, values: Any) -> Choices:
    if not isinstance(values, list) or not 0 < len(values) <= MOST_CHOICES:
        raise UserError(f"{where}.choices is {shown(values)}, expected a list of 1 to {MOST_CHOICES} values")
    choices = Choices(tuple(values))
    if len(set(map(_label, values))) < len(values):
        raise UserError(f"{where}.choices has a value twice: {', '.join(choices.labels)}")
    return choices


def _range(where: str, value: Mapping[str, Any]) -> Range:
    low, high = value["low"], value["high"]
    log, integer = value.get("log", False), value.get("integer", False)
    if not isinstance(log, bool) or not isinstance(integer, bool):
        raise UserError(f"{where}: log and integer are {log!r} and {integer!r}, expected true or false")
    numbers = int if integer else int | float
    if integer:
        low, high = whole(low), whole(high)
    if any(isinstance(end, bool) or not isinstance(end, numbers) for end in (low, high)) or not low < high:
        kind = "whole numbers" if integer else "numbers"
        raise UserError(f"{where} goes from {low!r} to {high!r}, expected two {kind}, the lower one first")
    if log and low <= 0:
        raise UserError(f"{where}.low is {low}, expected a positive number with log")
    return Range(low, high, log, integer)


def _check_section(where: str, hyperparameter: Hyperparameter, method: str) -> None:
    ends = hyperparameter.ends()
    match hyperparameter.section:
        case "architecture" if hyperparameter.name == "name":
            raise UserError(f"{where} is searched, expected the name of one family")
        case "kind" if not all(end in get_args(Kind) for end in ends):
            raise UserError(f"{where} has {ends}, expected choices of nngp and ntk")
        case "preprocessing" if method != "zca":
            raise UserError(f"{where} is searched, but the method is {method}, expected zca")
        case "preprocessing":
            for end in ends:
                if isinstance(end, bool) or not isinstance(end, int | float) or end < 0:
                    raise UserError(f"{where} has {end!r}, expected numbers, none negative")


def _check_condition(where: str, hyperparameter: Hyperparameter, free: Mapping[str, Hyperparameter]) -> None:
    for name, allowed in hyperparameter.when.items():
        domain = free[name].domain if name in free else None
        if not isinstance(domain, Choices):
            raise UserError(
                f"{where}.when names {name!r}, expected a hyperparameter with choices and no condition"
            )
        for value in allowed:
            if _label(value) not in map(_label, domain.values):
                known = ", ".join(domain.labels)
                raise UserError(f"{where}.when.{name} has {value!r}, expected one of {known}")
