"""Projects of tiny studies, one for each stage that is killed, with all stages before it done."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from kill_stages import CHAIN, STUDY, TUNING, write_inputs
from kills import Server, Stage


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(scope="session")
def stage(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stage]:
    """From a stage's name to the stage, those before it done once."""
    folder = tmp_path_factory.mktemp("kills")
    project = folder / "project"
    (project / "config").mkdir(parents=True)
    for name, config in (("tiny", STUDY), ("tune", TUNING)):
        (project / "config" / f"{name}.yaml").write_text(yaml.safe_dump(config))
    write_inputs(project)
    done: dict[str, Path] = {}

    def snapshot(name: str) -> Path:
        """The project as it is before the stage."""
        if not done:
            for position, (here, arguments) in enumerate(CHAIN):
                done[here] = folder / "before" / str(position)
                done[here].parent.mkdir(exist_ok=True)
                subprocess.run(["cp", "-a", str(project), str(done[here])], check=True)
                server.finish(project, arguments)
        return done[name]

    return lambda name: Stage(server, snapshot(name), dict(CHAIN)[name], folder / "work")
