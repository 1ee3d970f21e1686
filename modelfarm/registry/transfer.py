"""Transfer: blobs to a registry and back, in parts, going on where the connection broke."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelfarm.console import Step
from modelfarm.errors import ArtifactError, RegistryError
from modelfarm.registry import faults
from modelfarm.registry.line import ATTEMPTS, Line, Reply, rest
from modelfarm.registry.oci import Descriptor
from modelfarm.registry.shelf import DAMAGED
from modelfarm.registry.uploads import Uploads

CHUNK = 8 << 20  # bytes that are sent at a time
_READ = 1 << 20
_BYTES = {"Content-Type": "application/octet-stream"}
_LOST = (404, 416)  # of an upload: the registry forgot it, or has another part of it than was thought

Progress = Callable[[int], None]  # of the bytes of this blob that are through


def counted(step: Step, before: int, total: int) -> Progress:
    """Return what moves the bar of several blobs: `before` are the bytes of those that are through."""
    return lambda part: step.progress(before + part, total)


@dataclass(frozen=True, kw_only=True)
class Blob:
    """Bytes with their descriptor, in memory or in a file."""

    descriptor: Descriptor
    source: Path | bytes

    def part(self, offset: int, length: int) -> bytes:
        """Return some of the bytes."""
        if isinstance(self.source, bytes):
            return self.source[offset:offset + length]
        with self.source.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)


def upload(line: Line, blob: Blob, progress: Progress = lambda done: None, chunk: int = CHUNK,
           uploads: Uploads | None = None) -> bool:
    """Bring a blob into the registry; returns False where it is there already.

    Goes on where a connection broke, as often as that gets further; and, by what `uploads` remembers, where another run
    was broken off. Raises RegistryError.
    """
    descriptor = blob.descriptor
    there = line.persist(lambda: line.ask("HEAD", f"blobs/{descriptor.digest}", known=(404,), name=descriptor.digest))
    if there.status != 404:
        progress(descriptor.size)
        return False
    _Upload(line, blob, progress, chunk, uploads).run()
    progress(descriptor.size)
    return True


class _Upload:
    """One blob on its way: `place` is the registry's address for the rest of it, `sent` what has arrived."""

    def __init__(self, line: Line, blob: Blob, progress: Progress, chunk: int, uploads: Uploads | None) -> None:
        self.line, self.blob, self.progress, self.chunk = line, blob, progress, chunk
        # What goes in one part has nothing to be remembered.
        self.uploads = uploads if blob.descriptor.size > chunk else None
        self.place, self.sent = "", 0

    def run(self) -> None:
        self._recall()
        failures, furthest = 0, self.sent
        while True:
            try:
                if not self.place:
                    self._start()
                while self.blob.descriptor.size - self.sent > self.chunk:
                    self._send()
                return self._finish()
            except (faults.CutError, faults.TroubleError, faults.MissingError) as error:
                if self.sent > furthest:
                    failures, furthest = 0, self.sent
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                rest(failures - 1, error)
                self._look()

    def _recall(self) -> None:
        """Go on where another run was broken off, as far as the registry still knows of it."""
        if self.uploads and (place := self.uploads.recall(self.line.repository, self.blob.descriptor.digest)):
            self.place = place
            try:
                self._look()
            except RegistryError:
                self.place, self.sent = "", 0  # a hint that leads nowhere; what is really wrong shows at once
            self.progress(self.sent)

    def _start(self) -> None:
        reply = self.line.ask("POST", "blobs/uploads/", body=b"", name=self.line.repository)
        least = reply.headers.get("OCI-Chunk-Min-Length", "")
        self.chunk = max(self.chunk, int(least) if least.isdecimal() else 0)
        self.place, self.sent = self._location(reply), 0
        self._keep()

    def _keep(self) -> None:
        if self.uploads:
            self.uploads.keep(self.line.repository, self.blob.descriptor.digest, self.place)

    def _send(self) -> None:
        part = self.blob.part(self.sent, self.chunk)
        span = f"{self.sent}-{self.sent + len(part) - 1}"
        reply = self.line.ask("PATCH", self.place, body=part, headers={**_BYTES, "Content-Range": span},
                              name=self._name, known=_LOST)
        if reply.status in _LOST:
            self.place = ""
            raise faults.CutError(f"the registry {self.line.host} lost what it had of {self._name}", remedy="run again")
        self.place, self.sent = self._location(reply), self.sent + len(part)
        self._keep()
        self.progress(self.sent)

    def _finish(self) -> None:
        """Send the last part, and say what all of it must be."""
        part = self.blob.part(self.sent, self.chunk)
        joint = "&" if "?" in self.place else "?"
        span = {"Content-Range": f"{self.sent}-{self.sent + len(part) - 1}"} if self.sent else {}
        try:
            self.line.ask("PUT", f"{self.place}{joint}digest={self.blob.descriptor.digest}", body=part,
                          headers={**_BYTES, **span}, name=self._name)
            if self.uploads:
                self.uploads.forget(self.line.repository, self.blob.descriptor.digest)
        except faults.RefusedError as error:
            if error.reason != "DIGEST_INVALID":
                raise
            self.place, self.sent = "", 0
            raise faults.CutError(f"the registry {self.line.host} got other bytes of {self._name} than were sent",
                                  remedy="run again; make doctor reads every artifact here again") from error

    def _look(self) -> None:
        """Ask how much has arrived; where that is not to be learnt, start anew."""
        if not self.place:
            return
        try:
            reply = self.line.ask("GET", self.place, name=self._name, known=_LOST)
        except faults.CutError:
            self.place = ""
            return
        end = re.fullmatch(r"(?:bytes=)?0-(\d+)", reply.headers.get("Range", ""))
        # "0-0" is what registries say of nothing, and of one byte.
        known = reply.status not in _LOST and end is not None and int(end[1]) > 0
        self.place = (reply.location or self.place) if known else ""
        self.sent = int(end[1]) + 1 if known and end else 0

    def _location(self, reply: Reply) -> str:
        if not reply.location:
            raise RegistryError(f"the registry {self.line.host} does not say where {self._name} is to go",
                                remedy="tell who runs it")
        return reply.location

    @property
    def _name(self) -> str:
        return f"{self.line.repository}@{self.blob.descriptor.digest}"


def read(line: Line, descriptor: Descriptor, largest: int) -> bytes:
    """Return a small blob, checked; raises ArtifactError where it is larger, or not what its digest says."""
    name = f"{line.repository}@{descriptor.digest}"
    if descriptor.size > largest:
        raise ArtifactError(f"{name} is to have {descriptor.size} bytes, more than the {largest} that make sense",
                            remedy="do not use it")
    reply = line.persist(lambda: line.ask("GET", f"blobs/{descriptor.digest}", name=name))
    _check(name, descriptor, len(reply.body), hashlib.sha256(reply.body).hexdigest())
    return reply.body


def download(line: Line, descriptor: Descriptor, file: Path, progress: Progress = lambda done: None) -> None:
    """Write a blob into a file, checked.

    Goes on where a connection broke, as often as that gets further. Raises ArtifactError where the bytes are not
    those of the digest, RegistryError where they do not come.
    """
    with file.open("wb") as target:
        _Download(line, descriptor, target, progress).run()


class _Download:
    """One blob on its way into `target`; `digest` is that of what has arrived."""

    def __init__(self, line: Line, descriptor: Descriptor, target: BinaryIO, progress: Progress) -> None:
        self.line, self.descriptor, self.target, self.progress = line, descriptor, target, progress
        self.digest = hashlib.sha256()

    def run(self) -> None:
        failures = furthest = 0
        while True:
            try:
                self._receive()
                return _check(self._name, self.descriptor, self.target.tell(), self.digest.hexdigest())
            except (faults.CutError, faults.TroubleError) as error:
                failures = 1 if self.target.tell() > furthest else failures + 1
                furthest = max(furthest, self.target.tell())
                if failures >= ATTEMPTS:
                    raise
                rest(failures - 1, error)

    def _receive(self) -> None:
        """Append what is missing; where the registry gives only the whole, begin again."""
        have = self.target.tell()
        wanted = {"Range": f"bytes={have}-"} if have else {}
        with self.line.stream(f"blobs/{self.descriptor.digest}", wanted, self._name) as answer:
            if have and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                self.target.seek(0)
                self.target.truncate()
                self.digest = hashlib.sha256()
            for part in answer.stream(_READ):
                self.target.write(part)
                self.digest.update(part)
                self.progress(self.target.tell())
                if self.target.tell() > self.descriptor.size:
                    return

    @property
    def _name(self) -> str:
        return f"{self.line.repository}@{self.descriptor.digest}"


def _check(name: str, descriptor: Descriptor, size: int, found: str) -> None:
    if size != descriptor.size:
        raise ArtifactError(f"{name} is damaged: it has {size} bytes where its manifest says {descriptor.size}",
                            remedy=DAMAGED)
    if f"sha256:{found}" != descriptor.digest:
        raise ArtifactError(f"{name} is damaged: its bytes have the digest sha256:{found}", remedy=DAMAGED)
