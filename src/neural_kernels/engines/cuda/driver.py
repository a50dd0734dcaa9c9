"""libcuda, the driver of NVIDIA cards, by ctypes: what the engine needs of it, errors as sentences.

Every call on a ``Device`` must come from one thread, whose current context it makes its own.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels.errors import UserError

LIBRARY_VARIABLE = "NEURAL_KERNELS_LIBCUDA"
"""Names another libcuda than the one that the system's loader finds."""

OUT_OF_MEMORY = 2
NO_DEVICE = 100
# Of cuDeviceGetAttribute and cuFuncSetAttribute.
PROCESSORS, SHARED_OPTIN, MAJOR, MINOR = 16, 97, 75, 76
MAX_DYNAMIC_SHARED = 8


class OutOfDeviceMemory(UserError):
    """A card has not the memory that was asked for."""


@dataclass(frozen=True)
class Card:
    """What is known of a device before it is used.

    Attributes:
        capability: as 90 for compute capability 9.0.
        shared_bytes: shared memory that a block may ask for.
    """

    number: int
    name: str
    capability: int
    processors: int
    shared_bytes: int


def unavailable() -> str | None:
    """Why no card can be used, or None."""
    library = _library()
    if isinstance(library, str):
        return library
    count = ctypes.c_int()
    result = library.cuDeviceGetCount(ctypes.byref(count))
    if result or not count.value:
        return "the NVIDIA driver shows no card" + (f" ({_said(library, result)})" if result else "")
    return None


def version() -> str:
    """The CUDA version of the driver, as 13.0."""
    number = ctypes.c_int()
    _check(_loaded().cuDriverGetVersion(ctypes.byref(number)), "asking for the driver's version")
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def cards() -> tuple[Card, ...]:
    """All cards that ``CUDA_VISIBLE_DEVICES`` shows.

    Raises:
        UserError: there is no driver, or it fails.
    """
    library = _loaded()
    count = ctypes.c_int()
    _check(library.cuDeviceGetCount(ctypes.byref(count)), "counting the cards")
    return tuple(_card(library, number) for number in range(count.value))


def _card(library: ctypes.CDLL, number: int) -> Card:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    _check(library.cuDeviceGet(ctypes.byref(device), number), f"opening card {number}")
    _check(library.cuDeviceGetName(name, 256, device), f"asking for the name of card {number}")

    def attribute(code: int) -> int:
        value = ctypes.c_int()
        _check(
            library.cuDeviceGetAttribute(ctypes.byref(value), code, device), f"asking what card {number} is"
        )
        return value.value

    capability = 10 * attribute(MAJOR) + attribute(MINOR)
    return Card(
        number,
        name.value.decode(errors="replace"),
        capability,
        attribute(PROCESSORS),
        attribute(SHARED_OPTIN),
    )


class Device:
    """A card with a context of its own; see the module for threads.

    Raises:
        UserError: in every method, where the driver fails: the card is lost, or has no memory left.
    """

    def __init__(self, card: Card) -> None:
        self.card = card
        self._library = _loaded()
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._do("cuDeviceGet", ctypes.byref(device), card.number)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)

    def free_bytes(self) -> int:
        """Memory of the card that nobody uses."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._do("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def memory(self, size: int) -> Memory:
        """``size`` bytes of the card's memory."""
        address = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 16)), asked=size)
        return Memory(self, address)

    def function(self, cubin: bytes, name: str, shared_bytes: int) -> Function:
        """The function ``name`` of compiled code, allowed to use so much shared memory a block."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._do("cuModuleLoadData", ctypes.byref(module), cubin)
        self._do("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        self._do("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, shared_bytes)
        return Function(self, function, shared_bytes)

    def wait(self) -> None:
        """Until all that was launched is done."""
        self._do("cuCtxSynchronize")

    def _do(self, function: str, *arguments: Any, asked: int | None = None) -> None:
        result = getattr(self._library, function)(*arguments)
        if not result:
            return
        where = f"card {self.card.number} ({self.card.name})"
        if result == OUT_OF_MEMORY:
            size = "" if asked is None else f" for {asked / 2**20:,.0f} MiB"
            raise OutOfDeviceMemory(
                f"{where} has no memory{size}: take smaller tiles (blocks.tile), or leave the card to this job alone"
            )
        raise UserError(f"{where} failed in {function}: {_said(self._library, result)}")


class Memory:
    """Memory of a card; it is freed at the end of a ``with``."""

    def __init__(self, device: Device, address: ctypes.c_uint64) -> None:
        self._device, self.address = device, address

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        # Of a card that is lost nothing can be freed: what failed first is what is said.
        self._device._library.cuMemFree_v2(self.address)

    def write(self, values: np.ndarray) -> None:
        """``values``, contiguous, to the card."""
        self._device._do(
            "cuMemcpyHtoD_v2",
            self.address,
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_size_t(values.nbytes),
        )

    def read(self, values: np.ndarray) -> None:
        """From the card into ``values``, contiguous."""
        self._device._do(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(values.ctypes.data),
            self.address,
            ctypes.c_size_t(values.nbytes),
        )


class Function:
    """Compiled code on one card."""

    def __init__(self, device: Device, function: ctypes.c_void_p, shared_bytes: int) -> None:
        self._device, self._function, self._shared_bytes = device, function, shared_bytes

    def blocks_per_processor(self, threads: int) -> int:
        """Blocks of so many threads that a multiprocessor has room for at once."""
        count = ctypes.c_int()
        self._device._do(
            "cuOccupancyMaxActiveBlocksPerMultiprocessor",
            ctypes.byref(count), self._function, threads, ctypes.c_size_t(self._shared_bytes),
        )  # fmt: skip
        return max(count.value, 1)

    def launch(self, blocks: int, threads: int, arguments: Sequence[Any]) -> None:
        """So many blocks; ``arguments`` are ctypes values, or arrays whose bytes are one argument."""
        pointers = (ctypes.c_void_p * len(arguments))(*(_address(argument) for argument in arguments))
        self._device._do(
            "cuLaunchKernel",
            self._function,
            blocks, 1, 1,
            threads, 1, 1,
            self._shared_bytes,
            None,
            pointers,
            None,
        )  # fmt: skip


def _address(argument: Any) -> int:
    return argument.ctypes.data if isinstance(argument, np.ndarray) else ctypes.addressof(argument)


def _check(result: int, what: str) -> None:
    if result:
        raise UserError(f"the NVIDIA driver failed in {what}: {_said(_loaded(), result)}")


def _said(library: ctypes.CDLL, result: int) -> str:
    text = ctypes.c_char_p()
    if library.cuGetErrorString(result, ctypes.byref(text)) or text.value is None:
        return f"error {result}"
    return f"{text.value.decode(errors='replace')} (error {result})"


def _loaded() -> ctypes.CDLL:
    library = _library()
    if isinstance(library, str):
        raise UserError(f"the CUDA engine cannot run: {library}")
    return library


@functools.cache
def _library() -> ctypes.CDLL | str:
    name = os.environ.get(LIBRARY_VARIABLE, "libcuda.so.1")
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return f"there is no NVIDIA driver here ({name} does not load)"
    result = library.cuInit(0)
    if result == NO_DEVICE:
        return "the NVIDIA driver shows no card"
    if result:
        return f"the NVIDIA driver does not start: {_said(library, result)}"
    return library
