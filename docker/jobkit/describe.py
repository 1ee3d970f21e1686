"""What an image is: its packages with their versions and digests, and one digest over all its files."""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import re
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, Sequence, Tuple

from jobkit.content import BYTECODE, digest_of
from jobkit.converter import VARIABLE

BASE_VARIABLE = "MODELFARM_BASE"
DPKG_STATUS = Path("/var/lib/dpkg/status")

# Which program installed a package, and from where, does not change what it is.
ASIDE = frozenset(["INSTALLER", "REQUESTED", "direct_url.json"])


def describe(root: Path = Path("/")) -> Dict[str, Any]:
    """Describe this image: equal for two builds that installed the same."""
    return {
        "target": Path(os.environ.get(VARIABLE, "")).parent.name,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "base": os.environ.get(BASE_VARIABLE, ""),
        "packages": {
            name: {"version": distribution.version, "sha256": _digest(distribution)}
            for name, distribution in sorted(installed().items())
        },
        "system": system_packages(),
        "content": digest_of(root),
    }


def installed() -> Dict[str, metadata.Distribution]:
    """Find the installed Python packages by their normalised names (PEP 503)."""
    # Of two on the import path the first one is imported.
    found: Dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        found.setdefault(normalise(distribution.metadata["Name"]), distribution)
    return found


def normalise(name: str) -> str:
    """Give the one spelling that a package's name has in comparisons."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(distribution: metadata.Distribution) -> str:
    text = distribution.read_text("RECORD") or ""
    lines = sorted(",".join(row) for row in csv.reader(text.splitlines()) if _counts(row))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _counts(row: Sequence[str]) -> bool:
    path = PurePosixPath(row[0] if row else "")
    # Only the record itself and bytecode have no digest.
    return len(row) > 1 and bool(row[1]) and path.name not in ASIDE and BYTECODE not in path.parts


def system_packages(status: Path = DPKG_STATUS) -> Dict[str, str]:
    """Read the versions of the installed Debian packages; none where there is no dpkg."""
    if not status.is_file():
        return {}
    stanzas = status.read_text(encoding="utf-8").split("\n\n")
    return dict(sorted(_versions(stanzas)))


def _versions(stanzas: Sequence[str]) -> Iterator[Tuple[str, str]]:
    for stanza in stanzas:
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields["Version"]
