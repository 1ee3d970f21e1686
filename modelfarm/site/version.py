"""Versions: what a store keeps of one conversion, be it good, failed or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelfarm.artifact import MANIFEST, SMOKE, Artifact, Failure, Subject
from modelfarm.errors import ArtifactError
from modelfarm.site import plain
from modelfarm.site.figures import Figures, read_figures
from modelfarm.store import Store

VERIFIED, BUILT, FAILED, DAMAGED = "verified", "built", "failed", "damaged"
OVERLAY = ".overlay.png"
LOGS = ("convert.log", "smoke.log", "result.json", "reproduce.sh")  # a failure's most telling first


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a variant; `reason` says why it failed or is damaged, `when` in seconds since the epoch.

    Damage is what the manifest and the sizes show; `make doctor` reads every byte.
    """

    model: str
    variant: str
    version: str
    folder: Path
    state: str
    when: float
    latest: bool = False
    reason: str = ""
    key: str = ""
    subjects: tuple[Subject, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    artifact: Artifact | None = None

    @property
    def name(self) -> str:
        """Return `model/variant`."""
        return f"{self.model}/{self.variant}"

    @property
    def good(self) -> bool:
        """Return whether it is whole and has passed its gates."""
        return self.state in (VERIFIED, BUILT)

    @property
    def size(self) -> int | None:
        """Return the bytes of the artifact's files; None where there are none."""
        return sum(subject.size for subject in self.subjects) or None

    @cached_property
    def _smoke(self) -> tuple[Mapping[str, Any], str]:
        try:
            document = json.loads((self.folder / SMOKE).read_bytes())
        except FileNotFoundError:
            return {}, "" if self.state == FAILED else f"there is no {SMOKE}: the figures are unknown"
        except (OSError, ValueError, RecursionError) as error:
            return {}, f"{SMOKE} cannot be read, the figures are unknown: {error}"
        return plain.mapping(document), "" if isinstance(document, dict) else f"{SMOKE} holds no JSON object"

    @property
    def note(self) -> str:
        """Return what is wrong with the figures, in words; empty where nothing is."""
        return self._smoke[1]

    @cached_property
    def figures(self) -> Figures:
        """Return what smoke.json says."""
        return read_figures(self._smoke[0])

    @property
    def overlays(self) -> list[Path]:
        """Return the pictures with predictions, by name."""
        return sorted(self.folder.glob(f"*{OVERLAY}"))

    @property
    def logs(self) -> list[Path]:
        """Return the logs that were kept."""
        return [self.folder / name for name in LOGS if (self.folder / name).is_file()]


def read_versions(store: Store, model: str, variant: str) -> list[Version]:
    """Return every version of a variant that the store keeps, newest first."""
    found = [_version(folder, store, model, variant) for folder in store.folders(model, variant)]
    found += [_failed(failure) for failure in store.failures_of(model, variant)]
    return sorted(found, key=lambda version: (version.when, version.version), reverse=True)


def _version(folder: Path, store: Store, model: str, variant: str) -> Version:
    try:
        artifact = Artifact.read(folder, model=model, variant=variant, version=folder.name)
    except (ArtifactError, OSError) as error:
        said = error.message if isinstance(error, ArtifactError) else str(error)
        return Version(model=model, variant=variant, version=folder.name, folder=folder, state=DAMAGED,
                       when=_age(folder), reason=_without(said, folder))
    problems = list(_problems(artifact))
    return Version(model=model, variant=variant, version=artifact.version, folder=folder, key=artifact.key,
                   state=DAMAGED if problems else _state(artifact.manifest), when=artifact.published,
                   latest=store.is_latest(artifact), reason="; ".join(problems), subjects=artifact.files,
                   manifest=artifact.manifest, artifact=artifact)


def _state(manifest: Mapping[str, Any]) -> str:
    said = plain.at(manifest, "predicate", "verification", "verified")
    return BUILT if plain.text(said).startswith(BUILT) else VERIFIED


def _problems(artifact: Artifact) -> Iterator[str]:
    """Yield what the sizes of an artifact's files show to be wrong."""
    for file in artifact.files:
        try:
            found = artifact.path(file.name).stat().st_size
        except OSError:
            yield f"{file.name} is missing"
        else:
            if found != file.size:
                yield f"{file.name} has {found} bytes where the manifest says {file.size}"


def _failed(failure: Failure) -> Version:
    return Version(model=failure.model, variant=failure.variant, version=failure.version, folder=failure.folder,
                   state=FAILED, when=failure.failed, reason=failure.reason or "nobody said why")


def _age(folder: Path) -> float:
    for path in (folder / MANIFEST, folder):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def _without(message: str, folder: Path) -> str:
    """Leave the folder's place on this machine out of a message: pages travel."""
    return message.replace(f"the artifact {folder} is damaged: ", "").replace(str(folder), folder.name)
