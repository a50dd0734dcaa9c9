"""Variants of a sequence by what differs from the wild type: ``A123V:G45D``, as ProteinGym writes them."""

from __future__ import annotations

import re
from pathlib import Path

from neural_kernels.errors import UserError

_ONE = re.compile(r"([A-Za-z*])([0-9]{1,9})([A-Za-z*])")
_WILD = ("wt", "_wt", "wild type", "wildtype")


def mutated(wild_type: str, mutations: str) -> str:
    """The sequence of a variant.

    Args:
        mutations: substitutions with the old letter, its position from 1, and the new one, with ``:``, ``,`` or ``;``
            between them; WT for the wild type itself.

    Raises:
        ValueError: something else, or an old letter that the wild type does not have there; what is wrong, as a part of
            a sentence.
    """
    if mutations.strip().lower() in _WILD:
        return wild_type
    letters = list(wild_type)
    changed: set[int] = set()
    for text in re.split("[:;,]", mutations.strip()):
        found = _ONE.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"has the mutation {text[:40]!r}, expected one as A123V")
        old, place, new = found[1].upper(), int(found[2]), found[3].upper()
        if not 1 <= place <= len(letters):
            raise ValueError(f"has the mutation {text}, but the wild type has {len(letters)} positions")
        if wild_type[place - 1] != old:
            raise ValueError(f"has the mutation {text}, but the wild type has {wild_type[place - 1]} there")
        if place in changed:
            raise ValueError(f"changes position {place} twice")
        changed.add(place)
        letters[place - 1] = new
    return "".join(letters)


def read_wild_type(given: str) -> str:
    """The sequence itself, or that of the first entry of a FASTA file.

    Raises:
        UserError: neither letters nor a file that has some.
    """
    text = given
    if not re.fullmatch(r"[A-Za-z*]+", given) or Path(given).is_file():
        try:
            lines = Path(given).read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"--wild-type is {given[:80]!r}, expected a sequence of letters or a FASTA file ({error})"
            ) from None
        entry: list[str] = []
        for line in lines:
            if line.startswith(">"):
                if entry:
                    break
            else:
                entry.append(line.strip())
        text = "".join(entry)
    if not re.fullmatch(r"[A-Za-z*]+", text):
        raise UserError(f"--wild-type {given[:80]}: expected letters, found {text[:80]!r}")
    return text.upper()
