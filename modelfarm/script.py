"""The script beside an artifact, reproduce.sh: the plain command that makes it again, between two checks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from modelfarm.artifact import VERSION_DIGITS, Subject
from modelfarm.job import Job
from modelfarm.recipe import TorchSource

NAME = "reproduce.sh"

_SCRIPT = """\
#!/bin/sh
# Makes an artifact again, and says whether it is the same to the last byte:
#
#   model    {model}
#   variant  {variant}
#   version  {version}
#
# Usage: sh {name} JOB
#
# JOB is a folder with all that goes into the conversion. The farm writes it, with the same inputs as then:
#
#   {command}
#
# What the conversion makes lies in JOB/out afterwards. Exit code 0: every file is equal; 1: one is not, or it could
# not be made.
set -eu
trap '[ $? -eq 0 ] || exit 1' EXIT

fail() {{
    printf '%s: %s\\n' {name} "$1" >&2
    exit 1
}}

# Say which files of folder $1 are missing or not as the standard input lists them; end with 1 where there are any.
compare() {{
    if said=$(cd -- "$1" && LC_ALL=C sha256sum -c - 2>/dev/null); then
        return 0
    fi
    printf '%s\\n' "$said" | sed '/: OK$/d' >&2
    return 1
}}

command -v sha256sum >/dev/null || fail "this needs sha256sum"
if [ $# -ne 1 ] || [ ! -f "$1/job.json" ] || [ ! -d "$1/out" ]; then
    fail "usage: sh {name} JOB, where JOB is a folder with a job.json; {name} says how to get it"
fi
JOB=$(CDPATH='' cd -- "$1" && pwd)
[ -z "$(ls -A "$JOB/out")" ] || fail "$JOB/out has files already; remove them first"

compare "$JOB" <<'END' || fail "$JOB is not what the artifact was made from: see the files above"
{inputs}
END
[ "$(find "$JOB/in" ! -type d | wc -l)" -eq {count} ] || fail "$JOB/in has files that the artifact was not made from"

{run}
compare "$JOB/out" <<'END' || fail "what was made is not equal to the artifact: see the files above"
{outputs}
END
echo "equal to the artifact, byte for byte:" {made}
"""


def script(job: Job, run: str, inputs: Mapping[str, str], subjects: Sequence[Subject]) -> str:
    """Return the text of reproduce.sh.

    `run` are shell lines that run the job folder "$JOB"; `inputs` the SHA-256 of each of its files by its place.
    """
    return _SCRIPT.format(
        name=NAME, model=job.recipe.name, variant=job.variant, version=job.key[:VERSION_DIGITS],
        command=command(job), run=run, inputs=_sums(inputs), count=sum(place.startswith("in/") for place in inputs),
        outputs=_sums({subject.name: subject.sha256 for subject in subjects}),
        made=shlex.join(subject.name for subject in subjects))


def command(job: Job) -> str:
    """Return the command that writes the job folder of a job again."""
    return shlex.join(["make", "job", *(f"{name}={value}" for name, value in asked(job).items()), "FOLDER=JOB"])


def asked(job: Job) -> dict[str, str]:
    """Return what the command line must say, by variable, so that a job comes of it."""
    words = {"MODEL": job.recipe.name, "TARGET": _reader(job)}
    if len(job.target.precisions) > 1 or job.keeps:
        words["VARIANT"] = job.variant
    if job.target.way:
        words["VIA"] = job.target.way
    if options := "" if job.keeps else _options(job):
        words["OPTIONS"] = options
    if weights := "random" if job.random_weights else _other_weights(job):
        words["WEIGHTS"] = weights
    return words


def _reader(job: Job) -> str:
    """Return the target that has the job planned: another one, where the job's artifact is what that one reads."""
    if not job.keeps:
        return job.target.makes_for
    maker, brings, _ = job.variant.partition("-from-")
    return maker if brings else job.variant.partition("-for-")[2].removesuffix("-random")


def _options(job: Job) -> str:
    """Return what OPTIONS= must say, so that the recipe as it is gives the job's options."""
    usual = {**job.target.defaults, **(job.recipe.targets.get(job.target.makes_for) or {})}
    asked = {name: value for name, value in job.options.items() if value != usual.get(name)}
    precisions = usual.get("precision", job.target.precisions[0])
    if job.precision not in ([precisions] if isinstance(precisions, str) else precisions):
        asked["precision"] = job.precision
    return " ".join(f"{name}={_value(value)}" for name, value in asked.items())


def _value(value: Any) -> str:
    """Write a value as OPTIONS= reads it: without spaces."""
    if isinstance(value, str) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, separators=(",", ":"))


def _other_weights(job: Job) -> str:
    """Return the name of weights that are not called as the recipe's are."""
    source = job.recipe.source
    named = source.weights if isinstance(source, TorchSource) else source.file
    files = [material.name for role in ("weights", "source") for material in job.having(role)]
    return next((name for name in files if name != Path(named.file).name), "")


def _sums(digests: Mapping[str, str]) -> str:
    return "\n".join(_sum(name, sha256) for name, sha256 in sorted(digests.items()))


def _sum(name: str, sha256: str) -> str:
    """Return a line as sha256sum reads it, which has a backslash in front where the name has one escaped."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{sha256}  {name}" if escaped == name else f"\\{sha256}  {escaped}"
