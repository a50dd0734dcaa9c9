"""The one loader of compiled libraries: found beside the module that uses them, and of the version that it expects.

Supported is Linux. A package without its libraries works all the same: what needs one says why it cannot run, or does
without.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

NAME = "_native.so"
"""What setup.py calls it: of no Python, so that one wheel serves all."""


def load(folder: Path, version_function: str, version: int) -> ctypes.CDLL | str:
    """The compiled library in ``folder``, or why there is none, to go on from "cannot run: ".

    Args:
        version_function: of the library, without arguments, that returns the version of its interface.
        version: of the interface that the caller knows.
    """
    found = folder / NAME
    if not found.exists():
        return "its library was not built (install a C++ compiler and reinstall the package)"
    try:
        library = ctypes.CDLL(str(found))
        interface = getattr(library, version_function)()
    except (OSError, AttributeError) as error:
        return f"its library {found.name} does not load ({error})"
    if interface != version:
        return f"its library {found.name} is of another version (reinstall the package)"
    return library
