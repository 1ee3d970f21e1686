"""Shelf: the manifests and tags of a repository."""

from __future__ import annotations

import json
from collections.abc import Iterator

from modelfarm.errors import ArtifactError, RegistryError
from modelfarm.registry.line import Line, Reply
from modelfarm.registry.oci import INDEX, MANIFEST, Manifest, digest_of, read_manifest

DAMAGED = "the registry, or something between, changed it: do not use it; publish it again"
ANY = f"{MANIFEST}, {INDEX}"  # or a registry may choose something out of an index
_PAGE = 1000  # tags that are asked for at a time


class Shelf:
    """What a repository holds under tags and digests."""

    def __init__(self, line: Line) -> None:
        """Read and write over `line`."""
        self.line = line

    def name(self, reference: str) -> str:
        """Return the whole name of a tag or a digest, as other clients take it."""
        return f"{self.line.repository}{'@' if ':' in reference else ':'}{reference}"

    def read(self, reference: str, kind: str = ANY) -> bytes | None:
        """Return the bytes of what a tag or a digest names, None where there is nothing.

        Raises ArtifactError where they are not those of the digest.
        """
        reply = self.line.persist(lambda: self.line.ask("GET", f"manifests/{reference}", headers={"Accept": kind},
                                                        name=self.name(reference), known=(404,)))
        if reply.status == 404:
            return None
        if ":" in reference and digest_of(reply.body) != reference:
            raise ArtifactError(f"{self.name(reference)} is damaged: its bytes have the digest {digest_of(reply.body)}",
                                remedy=DAMAGED)
        return reply.body

    def manifest(self, reference: str) -> Manifest | None:
        """Return the manifest of a tag or a digest, None where there is none.

        Raises RegistryError where it is something else.
        """
        data = self.read(reference)
        try:
            return None if data is None else read_manifest(data)
        except ValueError as error:
            raise RegistryError(f"{self.name(reference)} is no artifact: {error}",
                                remedy="another program put it there; see REGISTRY= and the name") from error

    def digest(self, reference: str) -> str:
        """Return the digest of what a tag points to; empty where it points to nothing."""
        data = self.read(reference)
        return "" if data is None else digest_of(data)

    def write(self, data: bytes, reference: str, kind: str = MANIFEST) -> Reply:
        """Put a manifest under a digest or a tag."""
        return self.line.persist(lambda: self.line.ask("PUT", f"manifests/{reference}", body=data,
                                                       headers={"Content-Type": kind}, name=self.name(reference)))

    def tag(self, manifest: Manifest, tag: str) -> None:
        """Let a tag point to a manifest, and see that it does; raises RegistryError where it then does not."""
        self.write(manifest.data, tag)
        if (held := self.digest(tag)) != manifest.digest:
            raise RegistryError(f"{self.name(tag)} was put there as {manifest.digest}, but the registry holds "
                                f"{held or 'nothing'} under that name",
                                remedy="somebody published the same name meanwhile, or the registry changes what it is "
                                       "given; run again")

    def tags(self) -> Iterator[str]:
        """Yield the tags of the repository; none where there is no such repository."""
        for reply in self.line.pages(f"tags/list?n={_PAGE}", name=self.line.repository, known=(404,)):
            if reply.status == 404:
                return
            try:
                yield from json.loads(reply.body)["tags"] or []
            except (ValueError, TypeError, LookupError) as error:
                raise RegistryError(f"the registry {self.line.host} lists no tags of {self.line.repository}: {error}",
                                    remedy="tell who runs it") from error
