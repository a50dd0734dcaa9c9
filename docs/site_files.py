"""What the site has beside the pages in docs: README and its like, and the files that pages link to, as pages.

A hook of MkDocs (``mkdocs.yml``). Links are written for who reads the files themselves; here they are led to the pages.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = get_plugin_logger(__name__)

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json"}
LINK = re.compile(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)")
ITEM = re.compile(r"([-*]|1\.) ")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text()))
    sources = [*(ROOT / name for name in PAGES), *DOCS.rglob("*.md")]
    for linked in sorted({path for source in sources for path in _linked(source)}):
        uri = _uri(linked)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=_as_page(linked)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links of files to those of pages."""
    uri = page.file.src_uri
    if uri.startswith("files/"):
        return markdown
    source = _source(uri)
    for line in _run_in(markdown):
        log.warning("%s: a list needs a blank line before it: %r", source.relative_to(ROOT), line)

    def led(match: re.Match[str]) -> str:
        target = _resolved(source, match[1])
        if target is None:
            return match[0]
        return f"]({os.path.relpath(_uri(target), os.path.dirname(uri) or '.')}{match[2] or ''})"

    return LINK.sub(led, markdown)


def _source(uri: str) -> Path:
    return next((ROOT / name for name, page in PAGES.items() if page == uri), DOCS / uri)


def _uri(path: Path) -> str:
    """Of the page that shows a file."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return PAGES.get(name, f"files/{name}.md")


def _resolved(source: Path, link: str) -> Path | None:
    """The file that a link means; None where there is none, which MkDocs then says."""
    path = Path(os.path.normpath(source.parent / link))
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def _linked(source: Path) -> list[Path]:
    found = [_resolved(source, match[1]) for match in LINK.finditer(source.read_text())]
    return [path for path in found if path is not None]


def _as_page(path: Path) -> str:
    language = LANGUAGES.get(path.suffix, "text")
    return f"# {path.relative_to(ROOT)}\n\n````{language}\n{path.read_text()}\n````\n"


def _run_in(markdown: str) -> list[Any]:
    """First items of lists that follow a paragraph without a blank line, which Python-Markdown runs into it."""
    found, fenced, before = [], False, ""
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and ITEM.match(line) and before and not ITEM.match(before) and before[0] != " ":
            found.append(line)
        before = line
    return found
