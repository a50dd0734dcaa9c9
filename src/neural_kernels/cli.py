"""``neural-kernels <verb>``: what each rule of the workflow calls, and what a person can call."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from neural_kernels.command_line.options import one_line
from neural_kernels.command_line.verbs import make_parser
from neural_kernels.errors import UserError
from neural_kernels.machine import exhaustion
from neural_kernels.machine.interruption import Ended, signals_raised
from neural_kernels.progress import is_displayed
from neural_kernels.storage import disk
from neural_kernels.storage.disk import check_folder

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0; 2 after a mistake of the user's or a limit of the machine, said in one sentence; 128 and
        the number of the signal that ended the program.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = make_parser(arguments).parse_args(arguments)
    try:
        with signals_raised():
            _start_logging(options)
            check_folder("--results", options.results, options.chosen.writes)
            options.chosen.run(options)
    except UserError as error:
        log.error("error: %s", one_line(error))
        return 2
    except KeyboardInterrupt:
        log.error("ended by SIGINT; the same command goes on")
        return 128 + signal.SIGINT
    except Ended as end:
        log.error("%s; the same command goes on", end)
        return end.status
    except Exception as error:
        said = exhaustion.sentence(error, options.verb, options.results)
        if said is None and isinstance(error, OSError) and error.filename is not None:
            said = f"{error.filename}: {error.strerror or error}"
        if said is None and is_displayed():
            log.exception("error: %s", one_line(repr(error)))
            return 1
        if said is None:
            raise
        log.error("error: %s", one_line(said))
        return 2
    return 0


class _LogFile(logging.FileHandler):
    """A log that a full disk ends, and with it nothing else: standard error has the messages as well."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is None or not disk.is_of_the_disk(error):
            super().handleError(record)


def _start_logging(options: argparse.Namespace) -> None:
    path: Path | None = options.log
    # What cannot be opened is said, too.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    # Of the processes that MPI starts together, the first one keeps the log.
    ranks = (os.environ.get(name) for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"))
    if path is not None and next(filter(None, ranks), "0") == "0":
        if path.resolve() == options.config.resolve():
            raise UserError(f"--log is {path}, the config itself, expected another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(path, mode="w", encoding="utf-8", errors="backslashreplace"))
    # The workflow's display has the terminal, and shows the logs of jobs that fail.
    if path is not None and is_displayed():
        if len(handlers) > 1:
            del handlers[0]
        else:
            handlers[0].setLevel(logging.ERROR)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    # JAX reports every backend that it does not find.
    logging.getLogger("jax").setLevel(logging.WARNING)
    # And this one every glyph of a PDF.
    logging.getLogger("fontTools").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
