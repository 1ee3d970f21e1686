"""Lookup: where the files that a recipe names are found on this machine."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelfarm.contradictions import is_file
from modelfarm.digest import Digests
from modelfarm.errors import MachineError, UsageError
from modelfarm.recipe import NamedFile

_SUBFOLDERS = ("", "weights", "images")  # of a data folder
_CHUNK = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Searches a recipe's folder, then the data folders, then the downloads.

    `offline` downloads nothing; `timeout` is how many seconds a server may be silent.
    """

    data: tuple[Path, ...]
    downloads: Path
    digests: Digests
    offline: bool = False
    timeout: float = 30.0

    def folders(self, recipe: Path) -> list[Path]:
        """List where files are sought, in order."""
        return [recipe, *(folder / sub for folder in self.data for sub in _SUBFOLDERS)]

    def file(self, named: NamedFile, recipe: Path, progress: Progress | None = None) -> Path:
        """Find a named file, downloading it where the recipe gives a url.

        Raises MachineError saying where it was sought, or that what was found is another file.
        """
        for file in [*(folder / named.file for folder in self.folders(recipe)), self._download_of(named)]:
            if is_file(file):
                return self._checked(file, named)
        if named.url and named.sha256 and not self.offline:
            return self._download(named, progress)
        raise self._missing(named, recipe)

    def given(self, path: str) -> Path:
        """Return the file that `WEIGHTS=` names; raises UsageError where there is none."""
        try:
            file = Path(path).expanduser().absolute()
        except RuntimeError:  # ~somebody who is not known here
            file = Path(path)
        if not is_file(file):
            what = "is a folder" if os.path.isdir(file) else "does not exist"  # noqa: PTH112 -- it takes any name
            raise UsageError(f"WEIGHTS={path}: {what}", remedy="give the path of a checkpoint, or WEIGHTS=random")
        return file

    def matching(self, patterns: Sequence[str], recipe: Path) -> list[Path]:
        """Return the files that the patterns match, in their order; each must match something.

        The first folder in which a pattern matches serves it. Raises MachineError naming all
        patterns that match nothing.
        """
        return self.matching_all({"": patterns}, recipe)[""]

    def matching_all(self, groups: Mapping[str, Sequence[str]], recipe: Path) -> dict[str, list[Path]]:
        """Return, for each group of patterns, what `matching` would; one error names what is missing in all."""
        patterns = dict.fromkeys(pattern for group in groups.values() for pattern in group)
        found = {pattern: self._match(pattern, recipe) for pattern in patterns}
        if missing := [pattern for pattern, files in found.items() if not files]:
            raise MachineError(f"no file matches {', '.join(missing)}; sought in {_listed(self.folders(recipe))}",
                               remedy="put the files there, or name their folder in MODELFARM_DATA")
        return {name: list(dict.fromkeys(file for pattern in group for file in found[pattern]))
                for name, group in groups.items()}

    def _match(self, pattern: str, recipe: Path) -> list[Path]:
        for folder in self.folders(recipe):
            found = [folder / name for name in sorted(glob.glob(pattern, root_dir=folder))]
            if files := [file for file in found if file.is_file()]:
                return files
        return []

    def _checked(self, file: Path, named: NamedFile) -> Path:
        if named.sha256 and self.digests.file(file) != named.sha256:
            raise MachineError(
                f"{file} is not the file that the recipe names: its SHA-256 is {self.digests.file(file)}, "
                f"the recipe's {named.sha256}",
                remedy=f"remove it to search elsewhere, or use it knowingly with WEIGHTS={file}")
        return file

    def _missing(self, named: NamedFile, recipe: Path) -> MachineError:
        url = "the recipe gives a url but no sha256 to check it by" if named.url else "the recipe gives no url"
        if named.url and named.sha256:
            url = f"{named.url} was not asked"
        return MachineError(
            f"{named.file} was not found; sought in {_listed(self.folders(recipe))}, {self.downloads}; {url}",
            remedy="put it there, name its folder in MODELFARM_DATA, or say WEIGHTS=path, or WEIGHTS=random "
                   "(random values, for sizing and timing)")

    def _download_of(self, named: NamedFile) -> Path:
        """Return the place of a download: below a folder of its own, whatever folders the recipe's name has."""
        return self.downloads / (named.sha256 or "") / Path(named.file).name

    def _download(self, named: NamedFile, progress: Progress | None) -> Path:
        assert named.url
        file = self._download_of(named)
        _sweep(file)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            _fetch(named.url, partial, self.timeout, progress)
            if (found := self.digests.file(partial)) != named.sha256:
                raise MachineError(f"{named.url} holds another file than the recipe names: its SHA-256 is {found}, "
                                   f"the recipe's {named.sha256}", remedy="nothing was kept; correct the recipe")
            return partial.replace(file)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()


def _sweep(file: Path) -> None:
    """Remove what killed downloads of a file left; the name of each ends with its process."""
    for left in file.parent.glob(f".{glob.escape(file.name)}.*"):
        number = left.name.rpartition(".")[2]
        if number.isdecimal() and not _alive(int(number)):
            with contextlib.suppress(OSError):
                left.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return True


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders)


def _fetch(url: str, file: Path, timeout: float, progress: Progress | None) -> None:
    # Imported here: a cached job never downloads, and must be quick.
    import http.client
    import urllib.error
    import urllib.request

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=timeout) as answer, file.open("wb") as target:
            total = int(answer.headers.get("Content-Length") or 0)
            done = 0
            for chunk in _chunks(answer.read):
                done += target.write(chunk)
                if progress:
                    progress(done, total)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise MachineError(f"{url} cannot be downloaded: {reason}",
                           remedy="download it by hand, and say WEIGHTS=path") from error
    if total and done != total:
        raise MachineError(f"{url} ended after {done} of {total} bytes", remedy="try again")
    if progress and not total:
        progress(done, done)  # the server did not say where the end is: here


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(_CHUNK):
        yield chunk
