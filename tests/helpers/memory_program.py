"""Runs commands, each in a process of its own with the least memory budget that lets it, and says what it peaked at.

Arguments: a folder, and what to run: "solve", "approximate" or "predict". Prints JSON lines [case, budget, peak] in
bytes, [case, budget, standard error] of budgets that were too small, and [command, bytes, exit status, peak, standard
error] of commands whose address space could grow by so many bytes only.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import yaml

from neural_kernels import blocks, solvers
from neural_kernels.cli import main
from neural_kernels.errors import UserError
from neural_kernels.stages.solve import solver_settings
from neural_kernels.study.study import load_study

N, QUERIES = 2600, 300
STEP = 16 * 2**20

# A command takes seconds: what it stands at after so many is written where a person sees it, and it ends.
HUNG_SECONDS = 240

STUDY: dict[str, Any] = {
    "title": "t",
    "data": {"name": "arrays", "train_examples": N, "validation_examples": QUERIES},
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}},
    "blocks": {"edge": 700},
    "training_sizes": {"sizes": [N]},
    "ridge": {"candidates": [1e-2, 1e-1]},
    "solver": {"max_iterations": 12, "preconditioner": {"rank": 150}},
}
SIZES = {
    "nystrom": 200,
    "subset_of_regressors": 200,
    "block_diagonal": 1300,
    "bayesian_committee_machine": 650,
}
APPROXIMATIONS = {
    "draws": 1,
    "sizes": sorted(set(SIZES.values())),
    "iterations": [10],
    "jitter": {"candidates": [1e-3]},
}


# Run with too little memory whatever the budget, and then with enough.
ONE = ["--kernel", "FC", "--size", str(N)]
EXHAUSTED = {
    "direct": [
        ["solve", *ONE, "--threads", "1"],
    ],
    "iterative, columns": [["solve", *ONE, "--threads", "1"]],
    "direct, variance": [["predict", *ONE, "--inputs", "new.npz", "--output", "d.parquet", "--threads", "1"]],
}


def merged(*sections: dict[str, Any]) -> dict[str, Any]:
    """Configs laid over each other, two levels deep."""
    out: dict[str, Any] = {}
    for section in sections:
        for key, value in section.items():
            out[key] = out.get(key, {}) | value if isinstance(value, dict) else value
    return out


def cases(what: str) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Changes of the config and the command, by the name of the case."""
    kernel = ["--kernel", "FC"]
    size = [*kernel, "--size", str(N), "--threads", "2"]
    direct, iterative = {"solver": {"direct_up_to": N}}, {"solver": {"direct_up_to": 10}}
    ridge = {"ridge": {"candidates": [1e-2]}}
    if what == "solve":
        columns = {"solver": {"direct_up_to": 10, "block": False, "preconditioner": {"method": "none"}}}
        return {
            "direct": (direct, ["solve", *size]),
            "direct, single precision": (merged(direct, {"precision": "float32"}), ["solve", *size]),
            "direct, labels missing": (direct, ["solve-with-gaps"]),
            "iterative": (merged(iterative, ridge), ["solve", *size]),
            "iterative, labels missing": (merged(iterative, ridge), ["solve-with-gaps"]),
            "iterative, columns": (merged(columns, ridge), ["solve", *size]),
        }
    if what == "approximate":
        asked = merged(direct, {"approximations": APPROXIMATIONS})
        return {
            method: (
                asked,
                ["approximate", *kernel, "--method", method, "--size", str(count), "--threads", "2"],
            )
            for method, count in {**SIZES, "truncated_cg": 10}.items()
        }
    predict = ["predict", *size, "--inputs", "new.npz", "--output"]
    return {
        "direct, alone": (direct, [*predict, "plain.parquet"]),
        "direct, variance": (direct, [*predict, "a.parquet", "--variance"]),
        "direct, samples": (direct, [*predict, "b.parquet", "--samples", "3"]),
        "iterative, variance": (iterative, [*predict, "c.parquet", "--variance"]),
    }


def peak() -> int:
    """Bytes of the most resident memory of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def in_a_child(command: list[str], more: int | None = None) -> tuple[int, int, str]:
    """Exit status, peak and standard error of a command in a process of its own.

    Args:
        more: bytes by which its address space may grow; it has no limit where None.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = io.StringIO()
        faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
        if more is not None:
            # OpenBLAS waits for ever for buffers that it cannot get: here it has them.
            scipy.linalg.cho_factor(np.eye(400) @ np.eye(400))
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + more
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status: int | str = 1
            try:
                status = solve_with_gaps(command[1]) if command[0] == "solve-with-gaps" else main(command)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=said)
        os.write(write, json.dumps([status, peak(), said.getvalue()[-2000:]]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    assert content, f"{command}: killed, or hung for {HUNG_SECONDS} s"
    return tuple(json.loads(content))


def solve_with_gaps(config: str) -> int:
    """Solves for targets of which some are missing, as studies of molecules have them, within the study's memory."""
    study = load_study(Path(config))
    targets = np.load("results/store0/features/plain/train_targets.npy")
    targets[np.random.default_rng(1).random(targets.shape) < 0.2] = np.nan
    try:
        settings = solver_settings(study, [1e-2], threads=2)
        solvers.solve_system(
            blocks.open_store(Path("results/store0/kernels/FC/train")), (0, N), targets, settings
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def prepared(name: str, study: dict[str, Any]) -> None:
    """The study's kernel."""
    Path(f"{name}.yaml").write_text(yaml.safe_dump(study))
    commands = [["prepare-data"], ["preprocess-data", "--preprocessing", "plain"]]
    for part, rows in (("train", N), ("validation", QUERIES), ("test", QUERIES)):
        commands.append(["declare-kernel", "--kernel", "FC", "--part", part])
        for i in range(-(-rows // 700)):
            for j in range(i if part == "train" else 0, -(-N // 700)):
                block = ["--block", f"{i}-{j}", "--threads", "2"]
                commands.append(["compute-block", "--kernel", "FC", "--part", part, *block])
    for verb, *rest in commands:
        status, _, said = in_a_child([verb, f"{name}.yaml", *rest])
        assert status == 0, (verb, rest, said)


def main_program(folder: Path, what: str) -> None:
    os.chdir(folder)
    # Loaded before the processes divide: it is the program's own in all of them.
    import neural_kernels.stages.approximations
    import neural_kernels.stages.predict  # noqa: F401

    random = np.random.default_rng(0)
    x = {part: random.normal(size=(n, 12)) for part, n in (("train", N + QUERIES), ("test", QUERIES))}
    y = {part: np.sin(inputs @ random.normal(size=(12, 4))) for part, inputs in x.items()}
    np.savez("full.npz", x_train=x["train"], x_test=x["test"], y_train=y["train"], y_test=y["test"])
    np.savez("new.npz", x=random.normal(size=(300, 12)))
    made: dict[str, str] = {}
    for case, (changes, (verb, *rest)) in cases(what).items():
        study = merged(STUDY, {"data": {"path": "full.npz"}}, changes)
        study["data"]["path"] = str(folder / study["data"]["path"])
        kind = f"{study['data']['path']} {study.get('precision')}"
        if kind not in made:
            made[kind] = f"store{len(made)}"
            prepared(made[kind], study)
        name = made[kind]
        for budget in range(peak() // STEP * STEP + STEP, 2**30, STEP):
            study["solver"]["memory_gib"] = budget / 2**30
            Path(f"{name}.yaml").write_text(yaml.safe_dump(study))
            if verb == "predict" and case.split(",")[0] not in made:
                made[case.split(",")[0]] = "solved"
                generous = merged(study, {"solver": {"memory_gib": 1.0}})
                Path("solve.yaml").write_text(yaml.safe_dump(generous))
                Path(f"{name}.yaml").write_text(yaml.safe_dump(generous))
                status, _, said = in_a_child(["solve", f"{name}.yaml", "--kernel", "FC", "--size", str(N)])
                assert status == 0, said
                Path(f"{name}.yaml").write_text(yaml.safe_dump(study))
            status, most, said = in_a_child([verb, f"{name}.yaml", *rest])
            print(json.dumps([case, budget, most if status == 0 else f"{status} {said}"]), flush=True)
            if status != 2:
                break
        if case in EXHAUSTED:
            for verb, *rest in EXHAUSTED[case]:
                for more in (2**20, 2**34):
                    print(
                        json.dumps([verb, more, *in_a_child([verb, f"{name}.yaml", *rest], more)]), flush=True
                    )


if __name__ == "__main__":
    main_program(Path(sys.argv[1]), sys.argv[2])
