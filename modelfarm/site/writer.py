"""The writer: brings a report's folder up to date with its store."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from modelfarm import disk
from modelfarm.artifact import REPORT
from modelfarm.digest import Digests
from modelfarm.site.cell import Cell, make_cell, page_of
from modelfarm.site.memory import Memory, Remembered, read_memory, stamp
from modelfarm.site.overview import overview
from modelfarm.site.pages import STYLE, TEMPLATES, Pages
from modelfarm.site.record import newest_nights
from modelfarm.site.version import Version, read_versions
from modelfarm.store import Store

INDEX = "index.html"
Progress = Callable[[float, float], None]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a report came to: the index, the number of pages in all and of those that were written anew."""

    index: Path
    pages: int
    fresh: int


class Writer:
    """Writes the report of a store into `report/` in it. Raises MachineError where the disk refuses."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.root / REPORT
        self._pages = Pages()

    def write(self, progress: Progress = lambda done, total: None) -> Written:
        """Bring every page up to date, remove those that nothing stands for any more, and write the index last.

        `progress` hears how many variants are done, and of how many.
        """
        with disk.explained(self.store.root):
            self.folder.mkdir(parents=True, exist_ok=True)
            memory, earlier = read_memory(self.folder, _program(self.store.digests))
            known, memory.variants = memory.variants, {}
            variants = self.store.variants()
            for count, (model, variant) in enumerate(variants):
                progress(count, len(variants))
                name = f"{model}/{variant}"
                if found := self._variant(model, variant, known.get(name)):
                    memory.variants[name] = found
            self._replace(self.folder / STYLE, (TEMPLATES / STYLE).read_text(encoding="utf-8"))
            self._index([each.cell for each in memory.variants.values()])
            self._tidy(earlier, memory)
            memory.save(self.folder)
        fresh = [each for name, each in memory.variants.items() if known.get(name) is not each]
        return Written(index=self.folder / INDEX, pages=_count(memory.variants.values()), fresh=_count(fresh))

    def _variant(self, model: str, variant: str, known: Remembered | None) -> Remembered | None:
        """Return what the report shows of a variant, written anew where its folders have changed."""
        folders = [*self.store.folders(model, variant),
                   *(failure.folder for failure in self.store.failures_of(model, variant))]
        if not folders:
            return None
        latest = self.store.root / model / variant / "latest"
        now = stamp(folders, latest.readlink().name if latest.is_symlink() else "")
        if known and known.stamp == now and all((self.folder / file).is_file() for file in known.files):
            return known
        versions = read_versions(self.store, model, variant)
        return Remembered(stamp=now, cell=make_cell(versions), files=tuple(self._write(versions)))

    def _write(self, versions: Sequence[Version]) -> Iterator[str]:
        """Write the pages of a variant's versions; yield the files' names below the report's folder.

        Only the newest version and the latest good one have their pictures: those of thousands would be gigabytes.
        """
        for version in versions:
            pictured = version is versions[0] or version.latest
            page = unquote(page_of(version))
            self._replace(self.folder / page, self._pages.version(version, versions, pictured=pictured))
            yield page
            for file in version.overlays if pictured else ():
                place = Path(page).with_suffix("") / file.name
                _linked(file, self.folder / place)
                yield str(place)

    def _index(self, cells: Sequence[Cell]) -> None:
        values = overview(cells, newest_nights(self.store))
        self._replace(self.folder / INDEX, self._pages.index(made=time.time(), **values))

    def _replace(self, file: Path, text: str) -> None:
        """Write a page in one step: a browser that reloads sees the old one or the new one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8", errors="replace")
        fresh.replace(file)

    def _tidy(self, earlier: Sequence[str], memory: Memory) -> None:
        """Remove the files of an earlier report that this one does not have, and the folders that it empties."""
        wanted = {file for known in memory.variants.values() for file in known.files}
        for name in set(earlier) - wanted:
            file = self.folder / name
            if not file.resolve().is_relative_to(self.folder.resolve()):
                continue  # a memory that somebody changed must not lead out of the folder
            file.unlink(missing_ok=True)
            for above in list(file.parents)[:3]:
                with suppress(OSError):
                    if above != self.folder:
                        above.rmdir()


def _program(digests: Digests) -> str:
    return digests.tree(Path(__file__).parent)


def _count(variants: Iterable[Remembered]) -> int:
    return sum(file.endswith(".html") for known in variants for file in known.files)


def _linked(file: Path, place: Path) -> None:
    """Put a picture beside its page, as a hard link where the disk has them: pages are many, and pictures large."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    try:
        os.link(file, fresh)
    except OSError:
        shutil.copyfile(file, fresh)
    # Of two links to one file rename keeps both: https://pubs.opengroup.org/onlinepubs/9799919799/functions/rename.html
    place.unlink(missing_ok=True)
    fresh.replace(place)
