"""All cards of this machine at work: a thread and a context for each, fed from one queue."""

from __future__ import annotations

import functools
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from neural_kernels.engines.cuda import driver, programs
from neural_kernels.engines.cuda.driver import Card, Device, Function
from neural_kernels.engines.cuda.specialisation import Specialisation

MEMORY_SHARE = 0.9
"""Of what a card has free, for scratch."""


@dataclass
class Worker:
    """A card with the thread that everything on it is done by."""

    card: Card
    thread: ThreadPoolExecutor
    _device: Device | None = None
    _functions: dict[tuple[str, str], Function] = field(default_factory=dict)

    @property
    def device(self) -> Device:
        if self._device is None:
            self._device = Device(self.card)
        return self._device

    def function(self, name: str, specialised: Specialisation) -> Function:
        """``nk_pairs`` or ``nk_tables`` of a specialisation, compiled and loaded once."""
        key = name, specialised.header
        if key not in self._functions:
            code = programs.cubin(specialised.header, self.card.capability)
            self._functions[key] = self.device.function(code, name, specialised.shared_bytes)
        return self._functions[key]

    def blocks(self, function: Function, specialised: Specialisation) -> int:
        """As many blocks as the card computes at once and has scratch memory for."""
        blocks = self.card.processors * function.blocks_per_processor(32 * specialised.warps)
        if not specialised.scratch_bytes:
            return blocks
        free = int(MEMORY_SHARE * self.device.free_bytes())
        if free < specialised.scratch_bytes:
            raise driver.OutOfDeviceMemory(
                f"card {self.card.number} ({self.card.name}) has {free / 2**20:,.0f} MiB of memory free, expected at "
                f"least {specialised.scratch_bytes / 2**20:,.0f} for the work on one pair of examples"
            )
        return min(blocks, free // specialised.scratch_bytes)


@functools.cache
def workers() -> tuple[Worker, ...]:
    """One for each card that is visible."""
    return tuple(Worker(card, ThreadPoolExecutor(1, f"card-{card.number}")) for card in driver.cards())


Task = tuple[int, int]


def spread(work: Callable[[Worker, Callable[[], Task | None]], None], tasks: Sequence[Task]) -> None:
    """``work(worker, next)`` on every card at once; ``next()`` gives tasks until none is left, each to one card.

    The first task of every card is its own, so that none stays idle where there are as many tasks as cards.

    Raises:
        UserError: the first failure of a card; the others finish the task that they are at.
    """
    working = workers()[: max(len(tasks), 1)]
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks[len(working) :]:
        waiting.put(task)

    def shared() -> Task | None:
        try:
            return waiting.get_nowait()
        except queue.Empty:
            return None

    def run(number: int) -> None:
        own = list(tasks[number : number + 1])
        try:
            work(working[number], lambda: own.pop() if own else shared())
        except BaseException:
            while shared() is not None:
                pass
            raise

    running = [worker.thread.submit(run, number) for number, worker in enumerate(working)]
    failures = [failure for future in running if (failure := future.exception()) is not None]
    if failures:
        raise failures[0]
