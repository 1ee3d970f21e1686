"""Golden results: what a recipe expects to be found, whoever computes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelfarm.decoders.prediction import Classification, Detection, Prediction
from modelfarm.errors import nearest
from modelfarm.gates.agreement import difference, match
from modelfarm.gates.limits import Golden
from modelfarm.samples import Sample

EXACT = Golden()

Found = Sequence[Sequence[Prediction]]  # the predictions of each item of a sample's batch


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A sample and what was found on it."""

    sample: Sample
    found: Found


def missed(key: str, expected: Any, tried: Sequence[Tried], slack: Golden = EXACT) -> Iterator[str]:
    """Yield what an expectation (`key: expected` of a recipe) misses in the results, with what a precision may lose."""
    chosen = [entry for entry in tried if key in (entry.sample.name, entry.sample.group)]
    if not chosen:
        names = {name for entry in tried for name in (entry.sample.name, entry.sample.group)}
        yield f"{key}: there is no such sample; {nearest(key, names)}"
    elif isinstance(expected, Mapping) and expected.get("accuracy") is not None:
        yield from _of_accuracy(key, expected["accuracy"], chosen, slack.accuracy)
    else:
        for entry in chosen:
            for predictions in entry.found:
                yield from (f"{entry.sample.name}: {problem}" for problem in _of_one(expected, predictions, slack))


def accuracy(tried: Sequence[Tried]) -> float | None:
    """Return the share of labelled rows whose best class is the label; None where nothing has labels."""
    hits = [_best_class(predictions) == label
            for entry in tried if entry.sample.labels is not None
            for predictions, label in zip(entry.found, entry.sample.labels.tolist(), strict=True)]
    return sum(hits) / len(hits) if hits else None


def _best_class(predictions: Sequence[Prediction]) -> int | None:
    best = predictions[0] if predictions else None
    return best.ranking[0] if isinstance(best, Classification) else None


def _of_accuracy(key: str, least: float, tried: Sequence[Tried], slack: float) -> Iterator[str]:
    share = accuracy(tried)
    if share is None:
        yield f"{key}: accuracy is expected, but the file has no array `label`"
    elif not share >= least - slack:
        said = f" less {slack:g} for the precision" if slack else ""
        yield f"{key}: accuracy {share:.4f}, expected at least {least:g}{said}"


def _of_one(expected: Any, predictions: Sequence[Prediction], slack: Golden) -> Iterator[str]:
    if isinstance(expected, Mapping):
        yield from _of_classes(expected, predictions)
        return
    found = [entry for entry in predictions if isinstance(entry, Detection)]
    if len(found) != len(predictions):
        yield "boxes are expected, but the decoder gives classes"
    elif len(found) != len(expected):
        scores = ", ".join(f"{entry.score:.3f}" for entry in found)
        yield f"{len(found)} found{f' (scores {scores})' if found else ''}, expected {len(expected)}"
    else:
        for one, other in match([_detection(entry) for entry in expected], found):
            yield from _of_detection(one, other, slack)


def _of_detection(wanted: Detection, found: Detection, slack: Golden) -> Iterator[str]:
    bare = Detection(box=found.box, score=found.score, landmarks=found.landmarks if wanted.landmarks else ())
    apart = difference(wanted, bare)
    if not apart.box <= slack.box:
        yield f"box {_rounded(found.box)}, expected {_rounded(wanted.box)}: {apart.box:.1f} px apart"
    if not apart.points <= slack.points:
        yield f"landmarks of the box at {_rounded(wanted.box)} are {apart.points:.1f} px from the expected ones"
    if not apart.score <= slack.score:
        yield f"score {found.score:.4f} of the box at {_rounded(wanted.box)}, expected {wanted.score:.4f}"


def _of_classes(expected: Mapping[str, Any], predictions: Sequence[Prediction]) -> Iterator[str]:
    best = predictions[0] if len(predictions) == 1 else None
    if not isinstance(best, Classification):
        yield "a class is expected, but the decoder gives boxes"
        return
    wanted = expected.get("top5") or [expected["top1"]]
    pairs = list(zip(best.ranking, best.labels, strict=True))[:len(wanted)]
    if len(pairs) < len(wanted) or any(str(name) not in (str(index), label)
                                       for name, (index, label) in zip(wanted, pairs, strict=False)):
        found = ", ".join(label for _, label in pairs)
        yield f"found {found}; expected {', '.join(map(str, wanted))}"


def _detection(entry: Mapping[str, Any]) -> Detection:
    x1, y1, x2, y2 = entry["box"]
    return Detection(box=(x1, y1, x2, y2), score=entry["score"],
                     landmarks=tuple((x, y) for x, y in entry.get("landmarks") or ()))


def _rounded(box: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in box) + ")"
