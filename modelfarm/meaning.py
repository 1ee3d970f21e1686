"""What a model means, for those who use its artifact: a converter writes it into files that have a place for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from modelfarm.job import Job

FACTS = ("cut_decode", "split_outputs", "normalise_boxes")  # edits that change what outputs mean

_ROWS = ("one row per candidate: centre x, centre y, width and height of the box, objectness, five landmarks x, y, "
         "score of the class; in pixels of the input, scores from 0 to 1")
_SENTENCES = {
    "yolo_face": {"": _ROWS},
    "ssd_face": {"boxes": "one row per candidate: its box, as the decoder's priors say, or corners as fractions",
                 "scores": "one row per candidate: scores of background and face",
                 "landmarks": "one row per candidate: five landmarks x, y"},
    "classification": {"output": "one score per class, in the order of the labels"},
    "landmarks": {"points": "landmarks in pixels of the input", "score": "how sure it is that a face is there"},
    "blaze_face": {"boxes": "one row per anchor: box and six landmarks, in pixels from the anchor's centre",
                   "scores": "one score per anchor, before the logistic function"},
}


def describe(job: Job, names: list[str], edits: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a job's model; `names` are its outputs, `edits` what edits of the graph had to tell."""
    recipe = job.recipe
    pictures = {entry.name: asdict(entry.picture) for entry in recipe.inputs if entry.picture}
    told = {name: edits[name] for name in FACTS if edits.get(name)}
    meaning: dict[str, Any] = {"description": recipe.description, "pictures": pictures,
                               "outputs": {name: _sentence(job, name, edits) for name in names}, "edits": told}
    if recipe.decoder:
        meaning["decoder"] = {"name": recipe.decoder.name, "options": dict(recipe.decoder.options)}
    for material in job.having("labels"):
        lines = material.path.read_text(encoding="utf-8").splitlines()
        meaning["labels"] = [line.strip() for line in lines if line.strip()]
    return meaning


def _sentence(job: Job, output: str, edits: Mapping[str, Any]) -> str:
    """Say what an output holds, and what an edit made of it."""
    for head in (edits.get("cut_decode") or {}).get("heads", ()):
        start, stop = (head.get("parts") or {head["name"]: (0, None)}).get(output, (None, None))
        if start is not None:
            columns = f"columns {start} to {stop - 1} of: " if stop else ""
            return (f"raw head of stride {head['stride']}, per anchor {columns}"
                    f"{_ROWS.partition(': ')[2].partition(';')[0]}; before any decode")
    source, part = output, ""
    split = edits.get("split_outputs") or {}
    if output in split.get("parts", {}):
        start, stop = split["parts"][output]
        source, part = split["output"], f"columns {start} to {stop - 1} of: "
    factor = ""
    if columns := (edits.get("normalise_boxes") or {}).get("columns", {}).get(output):
        said = ", ".join(f"{start} to {stop - 1}" for start, stop in columns)
        factor = f"; columns {said} are divided by {edits['normalise_boxes']['factor']:g}"
    return f"{part}{_plain(job, source)}{factor}"


def _plain(job: Job, output: str) -> str:
    decoder = job.recipe.decoder
    sentences = _SENTENCES.get(decoder.name, {}) if decoder else {}
    options = decoder.options if decoder else {}
    chosen = next((text for role, text in sentences.items() if not role or options.get(role) == output), None)
    return chosen or (next(iter(sentences.values())) if len(sentences) == 1 else "see the model's own documentation")
