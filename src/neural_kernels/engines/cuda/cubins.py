"""What a cubin says of its functions: registers, spilled bytes, shared memory. Read from the ELF file itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Attributes of .nv.info, as the toolkit's own tools read them: pairs of a symbol and a number.
REGISTERS, FRAME = 0x2F, 0x11
WITH_VALUES = 4  # format of an attribute that a number of bytes follows
SYMBOLS = 2


@dataclass(frozen=True)
class Resources:
    """Of one function.

    Attributes:
        registers: of 32 bits, of a thread.
        frame: bytes of a thread's memory for what registers have no room for.
        static_shared: bytes of shared memory that are not asked for at launch; the driver's own kilobyte is among them.
        code: bytes of instructions.
    """

    registers: int
    frame: int
    static_shared: int
    code: int


def resources(cubin: bytes) -> dict[str, Resources]:
    """Of each function that can be launched, by name.

    Raises:
        ValueError: ``cubin`` is no ELF file of 64 bits.
    """
    if cubin[:5] != b"\x7fELF\x02":
        raise ValueError("no ELF file of 64 bits")
    sections = _sections(cubin)
    symbols = next(section for section in sections.values() if section.kind == SYMBOLS)
    names = list(sections.values())[symbols.link]
    registers, frames = _attributes(cubin, sections, symbols, names)
    sizes = {name: section.size for name, section in sections.items()}
    return {
        name: Resources(
            registers[name],
            frames.get(name, 0),
            sizes.get(f".nv.shared.{name}", 0),
            sizes[f".text.{name}"],
        )
        for name in registers
        if f".text.{name}" in sizes
    }


@dataclass(frozen=True)
class _Section:
    kind: int
    begin: int
    size: int
    link: int


def _sections(cubin: bytes) -> dict[str, _Section]:
    """By name, in the order of the file; those of one name are numbered."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", cubin, 0x3A)
    rows = [struct.unpack_from("<IIQQQQIIQQ", cubin, table + i * size) for i in range(count)]
    found: dict[str, _Section] = {}
    for number, row in enumerate(rows):
        name = _text(cubin, rows[names_at][4] + row[0])
        key = name if name and name not in found else f"{name}#{number}"
        found[key] = _Section(row[1], row[4], row[5], row[6])
    return found


def _attributes(
    cubin: bytes, sections: dict[str, _Section], symbols: _Section, names: _Section
) -> tuple[dict[str, int], dict[str, int]]:
    found: dict[int, dict[str, int]] = {REGISTERS: {}, FRAME: {}}
    info = sections[".nv.info"]
    at = info.begin
    while at < info.begin + info.size:
        form, code, size = struct.unpack_from("<BBH", cubin, at)
        at += 4
        if form != WITH_VALUES:
            continue
        if code in found:
            symbol, value = struct.unpack_from("<II", cubin, at)
            (name_at,) = struct.unpack_from("<I", cubin, symbols.begin + 24 * symbol)
            found[code][_text(cubin, names.begin + name_at)] = value
        at += size
    return found[REGISTERS], found[FRAME]


def _text(cubin: bytes, at: int) -> str:
    return cubin[at : cubin.index(b"\0", at)].decode()
