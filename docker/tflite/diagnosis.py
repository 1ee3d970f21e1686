"""Where a quantised file loses what the float one has: for the manifest, smoke.log, and the error of a refused job.

``job.facts["quantisation"]`` lists the inputs and outputs with what their integers stand for: tensor, scale,
zero_point, minimum, maximum. ``job.facts["layers"]`` tells of the comparison with the float file, layer by layer:

    samples, compared          how many of each
    limit_db                   a ratio below it is a loss
    first, worst               the layer where the ratio first falls below it, and the one where it falls farthest; a
                               row of `noise` each, or None
    constant, saturated        the tensors with one value throughout, and those that are clipped
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from child import Child
from inside import Inside, Part
from jobkit import Job, UnusableError
from jobkit.arrays import Samples
from noise import Row
from options import read_options
from precision import INTEGER, Saved, Wish

QUANTISED = (*INTEGER, "dynamic")

COMPARED = 4  # samples, from all over the calibration set

# Below it less than the first digit of a value is right: measured on the bundled detectors, healthy layers stay above.
LIMIT = 10.0
FALL = 6.0  # what a layer has to lose itself; those behind it inherit the loss
FIXED = ("LOGISTIC", "SOFTMAX", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")  # TFLite says the scale: small is small

# No activation of a sane network is beyond: a converter's filler for "lowest" is.
ABSURD = 1e6

CLIPPED = 0.01  # of a tensor's values

FILLER = (
    "something is filled with the lowest float there, such as a mask or a pooling's padding: fill it with what lies "
    "within the range of the other values (padded_maxpool among the edits does it for pooling)"
)


def diagnose(path: Path, saved: Saved, job: Job, child: Child) -> None:
    """Compare the file at `path` with a float one of the same SavedModel; write what is found into ``job.facts``.

    Raises UnusableError naming a tensor whose range is absurd, and where the interpreter ends by a signal.
    """
    if job.precision not in QUANTISED:
        return
    inside: Inside = child.call("inside:read_inside", path, doing=f"read {path.name}")
    ends = [inside.parts[number] for number in (*inside.inputs, *inside.outputs)]
    job.facts["quantisation"] = [_described(part) for part in ends if part.scale is not None]
    _check_ranges(inside)
    samples = _chosen(job.calibration or job.samples)
    with job.events.step("compare with the float file, layer by layer"):
        rows = _measured(path, saved, job, child, samples)
    job.facts["layers"] = {"samples": len(samples), "compared": len(rows), "limit_db": LIMIT, **losses(rows)}


def _check_ranges(inside: Inside) -> None:
    """Raise UnusableError for a computed tensor whose integers stand for what no activation is.

    Some kernels end the whole process at such a scale, others compute nothing but zeros.
    """
    for node in inside.nodes:
        for part in (inside.parts[number] for number in node.outputs):
            if part.scale is not None and max(map(abs, part.bounds)) > ABSURD:
                low, high = part.bounds
                raise UnusableError(
                    f"the range of the tensor {part.name!r} ({node.operator}) is absurd: scale {part.scale:.4g}, zero "
                    f"point {part.zero_point}, so from {low:.3g} to {high:.3g}",
                    FILLER,
                )


def _described(part: Part) -> Dict[str, Any]:
    low, high = part.bounds
    return {
        "tensor": part.name,
        "scale": _figure(part.scale),
        "zero_point": part.zero_point,
        "minimum": _figure(low),
        "maximum": _figure(high),
    }


def _figure(value: Optional[float]) -> Optional[float]:
    """Round to what a person reads, so that equal runs on machines with other kernels read alike."""
    return None if value is None else float(f"{value:.4g}")


def _chosen(samples: Samples) -> List[Any]:
    last = len(samples) - 1
    return [samples[index] for index in sorted({round(last * part / (COMPARED - 1)) for part in range(COMPARED)})]


def _measured(path: Path, saved: Saved, job: Job, child: Child, samples: Sequence[Any]) -> Sequence[Row]:
    options, plain = read_options(job), str(Path(saved.folder).with_name("float.tflite"))
    child.call("precision:write", saved, Wish("fp32", options.select_ops, None), plain, doing="make the float file")
    rows: Sequence[Row] = child.call(
        "noise:measure", plain, str(path), job.inputs, saved.usual, samples, options.threads,
        doing=f"run {path.name} layer by layer", remedy=FILLER, crash=UnusableError,
    )  # fmt: skip
    return rows


def losses(rows: Sequence[Row]) -> Dict[str, Any]:
    """Pick out of all layers those that a person should know of: the keys `first` to `saturated` of the facts."""
    lossy = [row for row in rows if _loses(row)]
    farthest = max(lossy, key=_fall, default=None)
    return {
        "first": _told(lossy[0]) if lossy else None,
        "worst": _told(farthest) if farthest else None,
        "constant": [row.tensor for row in rows if row.constant],
        "saturated": [row.tensor for row in rows if row.clipped >= CLIPPED],
    }


def _loses(row: Row) -> bool:
    return row.decibels < LIMIT and _fall(row) >= FALL and row.operator not in FIXED


def _fall(row: Row) -> float:
    return LIMIT - row.decibels if row.before is None else row.before - row.decibels


def _told(row: Row) -> Dict[str, Any]:
    return {
        "layer": row.layer,
        "operator": row.operator,
        "tensor": row.tensor,
        "scale": _figure(row.scale),
        "zero_point": row.zero_point,
        "minimum": _figure(row.minimum),
        "maximum": _figure(row.maximum),
        "signal_to_noise_db": round(row.decibels, 1),
        "before_db": None if row.before is None else round(row.before, 1),
    }
