"""From a specialisation to machine code for a card, kept between runs.

A cubin's name in the cache is a digest of all that it is made from: source, headers, compute capability and compiler.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from functools import cache
from pathlib import Path

from neural_kernels.engines import native
from neural_kernels.engines.cuda import nvrtc
from neural_kernels.errors import UserError
from neural_kernels.storage.files import write_atomically

log = logging.getLogger(__name__)

OWN_HEADERS = ("warp.h", "tail.h", "march.h", "pooling.h", "positions.h", "products.h", "kernels.h")
SHARED_HEADERS = ("packs.h", "polynomials.h", "activations.h", "layers.h")
"""Of the native engine."""

SPECIALISED = "architecture.h"
SOURCE = "".join(f'#include "{name}"\n' for name in ("warp.h", "layers.h", SPECIALISED, "kernels.h"))
DIGEST_BYTES = 32

_one_at_a_time = threading.Lock()


@cache
def headers() -> dict[str, str]:
    """All headers but the specialised one, by name."""
    folders = {Path(__file__).parent: OWN_HEADERS, Path(native.__file__).parent: SHARED_HEADERS}
    return {name: (folder / name).read_text() for folder, names in folders.items() for name in names}


def cubin(specialised: str, capability: int) -> bytes:
    """Machine code for cards of ``capability``, from the cache or compiled, which takes seconds.

    Args:
        specialised: the header of a ``Specialisation``.

    Raises:
        UserError: see ``nvrtc.compile_cubin``.
    """
    parts = headers() | {SPECIALISED: specialised}
    key = repr((SOURCE, sorted(parts.items()), capability, nvrtc.version()))
    path = cache_folder() / f"{hashlib.sha256(key.encode()).hexdigest()}.cubin"
    with _one_at_a_time:
        found = _kept(path)
        if found is not None:
            return found
        log.info("compiling the CUDA kernel for compute capability %.1f", capability / 10)
        code = nvrtc.compile_cubin(SOURCE, parts, capability)
        _keep(path, code)
    return code


def cache_folder() -> Path:
    """Where compiled code is kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "neural_kernels" / "cuda"


def _kept(path: Path) -> bytes | None:
    """What is kept at ``path``, None where that is nothing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: file.write(hashlib.sha256(code).digest() + code))
    except (OSError, UserError) as error:
        log.warning("compiled code is not kept for the next run: %s", error)
