"""Why: what is not as it was when the latest artifact was made, field by field of the key."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from modelfarm.artifact import VERSION_DIGITS, Artifact
from modelfarm.console import Console
from modelfarm.digest import canonical, is_sha256
from modelfarm.errors import ArtifactError
from modelfarm.job import Job
from modelfarm.manifest import read_origin
from modelfarm.script import asked
from modelfarm.store import Store

Entry = Sequence[str]  # role, name and SHA-256 of a material

_DIGITS = 12  # of a digest, enough to tell two apart
_WIDTH = 48  # characters of a value
_BEFORE = 12  # of them before the first difference, where a value is cut
IMAGE = "toolchain.image"

# Where to look for the reason of a change, by the beginning of its field.
_PLACES = {
    "golden": "EXPECT=", "materials": "the file", "options": "the recipe's `targets:`, OPTIONS= or target.yaml",
    "recipe": "model.yaml", "schema": "the farm's version", "source": "model.yaml, `source:`", "weights": "WEIGHTS=",
    "toolchain.converter": "the code in docker/<target>/", "toolchain.jobkit": "the code in docker/jobkit/",
    "toolchain.lock": "requirements.txt", "toolchain.machine": "this machine", "toolchain.python": "the interpreter",
    "toolchain.runner": "RUNNER=", IMAGE: "the image's content",
}


class Absent(Enum):
    """What a field has that is not there; JSON's null is a value like others."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field that is not as it was: JSON values, or ABSENT where there was, or is, none."""

    field: str
    was: Any
    now: Any


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what makes one identity another; nothing where their keys are equal, and only there.

    Materials are matched by role and name, wherever they stand. Of two toolchains in different runners only what
    both have is compared.
    """
    for name in sorted({*was, *now}):
        special = {"materials": _materials, "toolchain": _toolchain}.get(name, _between)
        yield from special(name, was.get(name, ABSENT), now.get(name, ABSENT))


def _between(field: str, was: Any, now: Any) -> Iterator[Change]:
    if _same(was, now):
        return
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in sorted({*was, *now}):
            yield from _between(f"{field}.{name}", was.get(name, ABSENT), now.get(name, ABSENT))
    elif _is_table(was) and _is_table(now) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from _between(f"{field}[{index}]", one, other)
    else:
        yield Change(field=field, was=was, now=now)


def _same(was: Any, now: Any) -> bool:
    # As the key sees it: 1 is neither 1.0 nor true.
    if ABSENT in (was, now):
        return was is now
    return canonical(was) == canonical(now)


def _is_table(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _toolchain(field: str, was: Any, now: Any) -> Iterator[Change]:
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)) or _same(_runner(was), _runner(now)):
        yield from _between(field, was, now)
        return
    yield Change(field=f"{field}.runner", was=_runner(was), now=_runner(now))
    for name in sorted(was.keys() & now.keys() - {"runner"}):
        yield from _between(f"{field}.{name}", was[name], now[name])


def _runner(toolchain: Mapping[str, Any]) -> Any:
    # The key does not say which engine: docker and podman make the same of the same image.
    return toolchain.get("runner", "an image" if "image" in toolchain else ABSENT)


def _materials(field: str, was: Any, now: Any) -> Iterator[Change]:
    if not (_are_materials(was) and _are_materials(now)):
        yield from _between(field, was, now)
        return
    before, after = ([tuple(entry) for entry in entries] for entries in (was, now))
    for one, other in _pairs([entry for entry in before if entry not in after],
                             [entry for entry in after if entry not in before]):
        yield _of_material(field, one, other)
    kept, found = [entry for entry in before if entry in after], [entry for entry in after if entry in before]
    if kept != found:
        yield Change(field=f"{field}: order", was=[entry[1] for entry in kept], now=[entry[1] for entry in found])


def _are_materials(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(entry, list | tuple) and len(entry) == 3 and all(isinstance(word, str) for word in entry)
        for entry in value)


def _pairs(gone: list[Entry], come: list[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Pair what went with what came, by role and name; then the only one of a role that went with the one that came."""
    for width in (2, 1):
        for one in list(gone):
            alike = [entry for entry in come if entry[:width] == one[:width]]
            if len(alike) == 1 == len([entry for entry in gone if entry[:width] == one[:width]]):
                gone.remove(one)
                come.remove(alike[0])
                yield one, alike[0]
    yield from ((one, None) for one in gone)
    yield from ((None, other) for other in come)


def _of_material(field: str, one: Entry | None, other: Entry | None) -> Change:
    if one and other and one[1] != other[1]:
        return Change(field=f"{field}: {one[0]}", was=f"{one[1]} {one[2][:_DIGITS]}",
                      now=f"{other[1]} {other[2][:_DIGITS]}")
    role, name, _ = one or other or ("", "", "")
    return Change(field=f"{field}: {role} {name}", was=one[2] if one else ABSENT, now=other[2] if other else ABSENT)


def inside(image: Change, descriptions: Path) -> list[Change] | None:
    """Return what differs inside two images, None where this machine does not remember what one of them is.

    `descriptions` is the folder in which `toolchain.describe` keeps what images say of themselves.
    """
    known = {str(document.get("content")): document for document in _kept(descriptions)}
    was, now = known.get(str(image.was)), known.get(str(image.now))
    return None if was is None or now is None else list(changes(_contents(was), _contents(now)))


def _kept(folder: Path) -> Iterator[Mapping[str, Any]]:
    for file in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError):
            document = json.loads(file.read_bytes())
            if isinstance(document, dict):
                yield document


def _contents(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people know an image by: its versions."""
    packages = description.get("packages") or {}
    versions = {name: entry.get("version") if isinstance(entry, Mapping) else entry for name, entry in packages.items()}
    return {"packages": versions, **{name: description[name] for name in ("base", "machine", "python", "system")
                                     if name in description}}


def explain(jobs: Sequence[Job], variant: str, store: Store, descriptions: Path, console: Console) -> None:
    """Print in what each job differs from the latest artifact of its variant, or of `variant`.

    Raises ArtifactError where there is none, when all else has been printed, or where it is damaged.
    """
    missing = []
    for job in _chosen(jobs, variant):
        artifact = store.latest(job.recipe.name, variant or job.variant)
        if artifact is None:
            missing.append(job)
        else:
            _explain(job, artifact, store, descriptions, console)
    if missing:
        listed = ", ".join(variant or job.variant for job in missing)
        raise ArtifactError(f"{missing[0].recipe.name} has no {listed} artifact yet",
                            remedy=_making(missing[0], variant))


def _making(job: Job, variant: str) -> str:
    """Return the command that makes what is not there yet."""
    if variant not in ("", job.variant):
        return "`make status` lists what there is"
    words = asked(job)
    words.pop("VARIANT", None)
    target = words.pop("TARGET")
    return shlex.join(["make", target, *(f"{name}={value}" for name, value in words.items())])


def _chosen(jobs: Sequence[Job], variant: str) -> Sequence[Job]:
    """Return all jobs, or the one that comes nearest to a variant: that may be one with other options."""
    if not variant:
        return jobs
    known = [*jobs, *(job for last in jobs for job in last.line[:-1])]
    return [max(known, key=lambda job: _alike(job.variant, variant))]


def _explain(job: Job, artifact: Artifact, store: Store, descriptions: Path, console: Console) -> None:
    name = f"{artifact.model}/{artifact.variant} {artifact.version}"
    found = list(changes(read_origin(artifact).identity, job.identity))
    if not found:
        artifact.check(store.digests)
        console.line(f"  {name}: the latest artifact is what would be made now: cached")
        return
    console.line(f"  {name}: what would be made now is another, {job.key[:VERSION_DIGITS]}{_standing(job, store)}")
    console.table([("changed", "was", "now", "look at"), *(row(change) for change in found)])
    for change in found:
        if change.field == IMAGE and ABSENT not in (change.was, change.now):
            _print_inside(change, descriptions, console)
        if change.field == "source.artifact" and job.origin:
            _explain_origin(job.origin, str(change.was), store, descriptions, console)


def _explain_origin(job: Job, key: str, store: Store, descriptions: Path, console: Console) -> None:
    """Print what changed in the artifact that another one starts from, where it is still there."""
    with suppress(ArtifactError, ValueError):  # damaged; no key
        if artifact := store.find(job.recipe.name, job.variant, key):
            _explain(job, artifact, store, descriptions, console)


def _standing(job: Job, store: Store) -> str:
    with suppress(ArtifactError):
        if store.find(job.recipe.name, job.variant, job.key):
            return ", which the store has: cached"
    return ""


def _print_inside(change: Change, descriptions: Path, console: Console) -> None:
    differences = inside(change, descriptions)
    if differences is None:
        console.note("what the images hold is not known here: this machine has not met both")
    elif differences:
        console.line("  in the image:")
        console.table([("changed", "was", "now"), *(row(each)[:3] for each in differences)])
    else:
        console.note("both images have the same packages: other files changed, such as the converter")


def row(change: Change) -> tuple[str, str, str, str]:
    """Return a change in words: the field, what it was, what it is, and where to look."""
    was, now = _text(change.was), _text(change.now)
    same = _alike(was, now)
    place = max((place for place in _PLACES if change.field.startswith(place)), key=len, default="")
    return change.field, _cut(was, same), _cut(now, same), _PLACES.get(place, "")


def _text(value: Any) -> str:
    if value is ABSENT:
        return "-"
    if is_sha256(value):
        return str(value)[:_DIGITS]
    return value if isinstance(value, str) and value.isprintable() and value else json.dumps(value, ensure_ascii=False)


def _alike(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginnings."""
    return next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
                min(len(one), len(other)))


def _cut(text: str, same: int) -> str:
    """Shorten a value around the first difference, after `same` characters."""
    if len(text) <= _WIDTH:
        return text
    start = max(0, min(same - _BEFORE, len(text) - _WIDTH))
    end = start + _WIDTH
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
