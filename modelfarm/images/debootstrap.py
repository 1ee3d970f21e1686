"""Debootstrap: a small Debian made from its packages, with what a slim base image holds and no more."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelfarm.command import run
from modelfarm.errors import MachineError

_SECONDS = 1800.0
_EPOCH = 315532800  # 1 January 1980: the same in every build, and as old as a zip file can say
_PATIENCE = 10.0  # seconds for a mirror to answer

# What a slim image leaves out, now and of packages installed later. Licences stay.
_LEFT_OUT = ("usr/share/doc", "usr/share/groff", "usr/share/info", "usr/share/linda", "usr/share/lintian",
             "usr/share/locale", "usr/share/man")
_KEPT = "copyright"
# What belongs to the machine it was made on, or to the making.
_EMPTIED = ("dev", "proc", "sys", "run", "tmp", "boot", "var/cache/apt", "var/lib/apt/lists", "var/log", "debootstrap")
_REMOVED = ("etc/hostname", "etc/resolv.conf", "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old",
            "var/lib/dpkg/*-old", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/.pwd.lock")
_FILES = {
    "etc/machine-id": (0o444, ""),
    "etc/dpkg/dpkg.cfg.d/slim": (0o644, "".join(f"path-exclude /{folder}/*\n" for folder in _LEFT_OUT)
                                 + f"path-include /usr/share/doc/*/{_KEPT}\n"),
    "etc/apt/apt.conf.d/slim": (0o644, 'Acquire::Languages "none";\nApt::AutoRemove::SuggestsImportant "false";\n'),
    # Nothing starts a service in a build: https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
    "usr/sbin/policy-rc.d": (0o755, "#!/bin/sh\nexit 101\n"),
}


def check(release: str) -> None:
    """Raise MachineError where this machine or this user cannot make a base."""
    remedy = "BASE=registry pulls it instead"
    subject = f"the base Debian {release} cannot be made here"
    for name, package in (("debootstrap", "debootstrap"), ("unshare", "util-linux")):
        if _program(name) is None:
            raise MachineError(f"{subject}: there is no {name}", remedy=f"install {package}; {remedy}")
    if os.geteuid() != 0:
        raise MachineError(f"{subject}: debootstrap needs root, and this is user id {os.geteuid()}",
                           remedy=f"sudo make base; {remedy}")


@contextmanager
def root(release: str, mirror: str, log: Path) -> Iterator[Path]:
    """Yield a tar file with the root of a minimal Debian, equal to the byte for equal packages.

    Raises MachineError with debootstrap's last words. What it makes on the way is gone afterwards.
    """
    scratch = Path(tempfile.mkdtemp(prefix="debian-", dir=log.parent))
    try:
        tree = scratch / "root"
        _bootstrap(release, mirror, tree, log)
        _slim(tree)
        _write_sources(tree, release)
        _pack(tree, scratch / "root.tar")
        yield scratch / "root.tar"
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _bootstrap(release: str, mirror: str, tree: Path, log: Path) -> None:
    # Mounts of its own: debootstrap puts this machine's /proc and /sys into the tree, and what removes the tree must
    # not find them there, however debootstrap ended.
    environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    words: list[str | Path] = [
        _program("unshare") or "unshare", "--mount", "--propagation", "private", _program("debootstrap") or "",
        "--force-check-gpg", "--variant=minbase", release, tree, *([mirror] if mirror else [])]
    ended = run(words, log=log, seconds=_SECONDS, environment=environment)
    if ended.code:
        said = [line for line in log.read_text(errors="replace").splitlines() if line[:2] in ("E:", "W:")][-4:]
        raise MachineError(f"debootstrap {release} {ended.why}" + "".join(f"\n    {line}" for line in said),
                           remedy="APT_MIRROR= names another mirror of Debian, HTTP_PROXY= a proxy; "
                                  f"the whole output is in {log}")


def _slim(tree: Path) -> None:
    for folder in _LEFT_OUT:
        for file in sorted((tree / folder).rglob("*"), reverse=True):
            if file.is_symlink() or (file.is_file() and file.name != _KEPT):
                file.unlink()
            elif file.is_dir() and not any(file.iterdir()):
                file.rmdir()
    for folder in _EMPTIED:
        for entry in (tree / folder).glob("*"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for pattern in _REMOVED:
        for file in tree.glob(pattern):
            file.unlink()
    for name, (mode, text) in _FILES.items():
        file = tree / name
        file.unlink(missing_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)


def _write_sources(tree: Path, release: str) -> None:
    """Add the updates and the security updates to the source that debootstrap wrote, where its mirror has them."""
    file = tree / "etc" / "apt" / "sources.list"
    found = re.match(r"deb (\S+)", file.read_text())
    if not found:
        return
    mirror = found[1].rstrip("/")
    lines = [f"deb {mirror} {release} main"]
    for address, suite in ((mirror, f"{release}-updates"), (f"{mirror}-security", f"{release}-security")):
        if _answers(f"{address}/dists/{suite}/InRelease"):
            lines.append(f"deb {address} {suite} main")
    file.write_text("\n".join(lines) + "\n")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _pack(tree: Path, file: Path) -> None:
    """Write a tree as a tar file: sorted, owners as numbers, all times the same."""
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                archive.add(path, arcname=str(path.relative_to(tree)), recursive=False, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uname, entry.gname = _EPOCH, "", ""
    return entry


def _program(name: str) -> str | None:
    # Root's programs are not on the path of every shell.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
