"""What a file says of itself to those who use it: input normalisation, labels, what outputs mean and how they scale.

The words are those of the recipe, as the farm hands them on in ``job.meaning``; metadata.py writes them into a file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from jobkit import Input, Job, UnusableError

# The part of `job.meaning` that the format has no fields for goes into the file as JSON under this name.
OWN = "modelfarm"
OWN_KEYS = ("pictures", "decoder", "edits")

LABELS = "labels.txt"

COLORS = {"rgb": "RGB", "gray": "GRAYSCALE"}
PIXEL = 255.0


@dataclass(frozen=True)
class TensorWords:
    """What is said of an input or output; all numbers are those that a float32 holds.

    A pixel `p` from 0 to 255 enters as (p - `mean`) / `std`, which lies between `minimum` and `maximum`; one value, or
    one for each channel. `size` is width and height. `labels` says that the labels are those of this tensor.
    """

    name: str
    description: str
    color: str = ""
    size: Tuple[int, ...] = ()
    mean: Tuple[float, ...] = ()
    std: Tuple[float, ...] = ()
    minimum: Tuple[float, ...] = ()
    maximum: Tuple[float, ...] = ()
    labels: bool = False


@dataclass(frozen=True)
class ModelWords:
    """What is said of a model. `own` is JSON: how pictures are prepared, the decoder, and what edits changed."""

    name: str
    description: str
    inputs: Tuple[TensorWords, ...]
    outputs: Tuple[TensorWords, ...]
    labels: Tuple[str, ...]
    own: str

    @property
    def lines(self) -> List[str]:
        """Say for a report what is in the file."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        for tensor in self.inputs:
            norm = f"(pixel - {_few(tensor.mean)}) / {_few(tensor.std)}" if tensor.std else ""
            yield _line(tensor, norm)
        for tensor in self.outputs:
            yield _line(tensor, f"{len(self.labels)} labels in {LABELS}" if tensor.labels else "")
        yield f"{OWN}: {', '.join(json.loads(self.own)) or 'nothing'}, as JSON"


def _line(tensor: TensorWords, more: str) -> str:
    return f"{tensor.name}: {'; '.join(filter(None, (tensor.description, more))) or 'nothing'}"


def _few(values: Sequence[float]) -> str:
    return f"{values[0]:.4g}" if len(values) == 1 else f"[{', '.join(f'{value:.4g}' for value in values)}]"


def words_of(job: Job, outputs: Sequence[str]) -> ModelWords:
    """Give the words for a job's file, whose outputs have these names."""
    meaning = job.meaning
    sentences, labels = meaning.get("outputs", {}), tuple(meaning.get("labels", ()))
    labelled = _labelled(meaning, outputs) if labels else None
    own = {key: meaning[key] for key in OWN_KEYS if meaning.get(key)}
    return ModelWords(
        name=job.model,
        description=str(meaning.get("description") or ""),
        inputs=tuple(_input(item, meaning.get("pictures", {}).get(item.name)) for item in job.inputs),
        outputs=tuple(TensorWords(name, sentences.get(name, ""), labels=name == labelled) for name in outputs),
        labels=labels if labelled else (),
        own=json.dumps(own, sort_keys=True, ensure_ascii=False),
    )


def _labelled(meaning: Mapping[str, Any], outputs: Sequence[str]) -> Optional[str]:
    """Find the output that has one score for each label: the decoder's, or the only one."""
    named = meaning.get("decoder", {}).get("options", {}).get("output")
    if named in outputs:
        return str(named)
    return outputs[0] if len(outputs) == 1 else None


def _input(item: Input, picture: Optional[Mapping[str, Any]]) -> TensorWords:
    if picture is None:
        return TensorWords(item.name, "")
    scale = picture["scale"]
    size = _size(item)
    ways = [f"{picture['color'].upper()} picture", f"{picture['resize']} to {size[0]}x{size[1]}" if size else ""]
    if picture["resize"] == "letterbox":
        ways.append(f"the rest filled with {_few(picture['pad'])}")
    if scale is None:
        # Divided by the picture's own maximum, which no constants say.
        ways.append("divided by its own maximum, then less the mean and divided by the deviation that the recipe has")
        return TensorWords(item.name, ", ".join(filter(None, ways)), COLORS.get(picture["color"], ""), size)
    # tensor = (pixel * scale - mean) / std = (pixel - mean / scale) / (std / scale)
    mean, std = ([value / scale for value in picture[key]] for key in ("mean", "std"))
    mean, std = _alike(mean, std)
    low, high = ([(pixel - m) / s for m, s in zip(mean, std, strict=True)] for pixel in (0.0, PIXEL))
    return TensorWords(
        item.name,
        ", ".join(filter(None, ways)),
        COLORS.get(picture["color"], ""),
        size,
        *(_floats(values) for values in (mean, std, low, high)),
    )


def _size(item: Input) -> Tuple[int, ...]:
    if len(item.shape) != 4:
        return ()
    height, width = item.shape[2:] if item.layout == "NCHW" else item.shape[1:3]
    return width, height


def _alike(*lists: List[float]) -> List[List[float]]:
    most = max(map(len, lists))
    return [values * most if len(values) == 1 else values for values in lists]


def _floats(values: Sequence[float]) -> Tuple[float, ...]:
    return tuple(float(np.float32(value)) for value in values)


def check(found: Optional[ModelWords], wanted: ModelWords) -> None:
    """Raise UnusableError where the file says something else than the recipe, naming what."""
    if found is None:
        raise UnusableError("the file has no metadata", "make it again")
    for field in fields(ModelWords):
        theirs, ours = getattr(found, field.name), getattr(wanted, field.name)
        if theirs != ours:
            raise UnusableError(
                f"the metadata of the file has other {field.name} than the recipe: {theirs!r}, not {ours!r}",
                "make the file again",
            )
