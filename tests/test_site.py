"""The documentation is a site: it is built without a warning and without a network, and has all that is exported."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

import neural_kernels
from neural_kernels.architectures import ACTIVATIONS, layers

pytest.importorskip("mkdocs")
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages; the build is strict, so that it ends where a link or a name in the reference leads nowhere."""
    out = tmp_path_factory.mktemp("site")

    def refuse(*_: object) -> None:
        raise AssertionError("the site is built without a network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(out)))
    return out


def test_every_exported_name_and_layer_is_in_the_reference(site: Path) -> None:
    found = set(re.findall(r'id="neural_kernels\.([\w.]+)"', "".join(_texts(site / "api"))))
    assert set(neural_kernels.__all__) - {"architectures"} <= found
    assert {f"architectures.layers.{kind.__name__}" for kind in ACTIVATIONS.values()} <= found
    # Those of other tests are none of ours.
    own = [kind for kind in layers.Layer.__subclasses__() if kind.__module__ == layers.__name__]
    listed = {kind.__name__ for kind in own} - {"Activation", "Pooling"}
    assert {f"architectures.layers.{name}" for name in listed} <= found


def test_pages_fetch_nothing(site: Path) -> None:
    pages = "".join(_texts(site))
    assert not re.findall(
        r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//[^"]*|<link[^>]*href="https?:[^"]*', pages
    )


def test_a_linked_file_is_a_page(site: Path) -> None:
    page = (site / "how-to" / "molecules.html").read_text()
    assert 'href="../files/config/tox21.yaml.html"' in page
    assert "title" in (site / "files" / "config" / "tox21.yaml.html").read_text()


def _texts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.rglob("*.html"))]
