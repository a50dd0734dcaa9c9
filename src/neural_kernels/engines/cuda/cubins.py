"""What a cubin says of its functions: registers, spilled bytes, shared memory, loops. Read from the ELF file itself.

With it the figures of docs/performance.md are counted where there is neither a card nor the toolkit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Attributes of .nv.info, as the toolkit's own tools read them: pairs of a symbol and a number.
REGISTERS, FRAME = 0x2F, 0x11
INSTRUCTION_BYTES = 16
BRANCH = 0x947
# Of an instruction, whatever the form of its operands: DMUL, DADD, DSETP, DFMA.
OPERATION, FLOAT64 = 0x1FF, (0x28, 0x29, 0x2A, 0x2B)
SHORTEST_LOOP = 64
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
class Loop:
    """Instructions from the target of a backward branch to the branch itself, and those of them in float64."""

    instructions: int
    float64: int


def loops(cubin: bytes, function: str, capability: int) -> list[Loop]:
    """The innermost loops of ``function``, but for the shortest, in the order of the code.

    Compilers put what is rarely needed behind the rest; from there, too, branches lead back, which look like loops.
    """
    code = _sections(cubin)[f".text.{function}"]
    words = [
        struct.unpack_from("<QQ", cubin, code.begin + at) for at in range(0, code.size, INSTRUCTION_BYTES)
    ]
    operations = [low & 0xFFF for low, _ in words]
    found = []
    for end, (low, high) in enumerate(words):
        if operations[end] == BRANCH:
            begin = end + 1 + _distance(low, high, capability) // INSTRUCTION_BYTES
            if begin <= end and end - begin >= SHORTEST_LOOP:
                found.append((begin, end))
    inner = [
        (begin, end)
        for begin, end in found
        if not any(begin <= b and e <= end for b, e in found if (b, e) != (begin, end))
    ]
    return [
        Loop(end + 1 - begin, sum(o & OPERATION in FLOAT64 for o in operations[begin : end + 1]))
        for begin, end in sorted(inner)
    ]


def _distance(low: int, high: int, capability: int) -> int:
    """Bytes that a branch goes ahead, from the instruction behind it."""
    words = (low >> 34) | (high & 0x3FFFF) << 30
    words -= (words >> 47) << 48
    return 4 * (words << 8 | (low >> 16 & 0xFF)) if capability >= 90 else 4 * words


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
