"""Evidence: what the gates judge, an artifact's results beside its reference's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from modelfarm.decoders.prediction import Column, Decoder, Outputs, Prediction
from modelfarm.errors import FarmError, RecipeError
from modelfarm.gates import parity
from modelfarm.gates.golden import Tried
from modelfarm.gates.limits import Limits, limits_for
from modelfarm.gates.parity import ParityRow
from modelfarm.gates.signature import PLAIN, Form
from modelfarm.job import JobResult
from modelfarm.recipe import Recipe
from modelfarm.samples import Sample

NOISE = "random"  # the group of samples that are seeded random numbers

_Made = TypeVar("_Made")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the gates judge: an artifact's results beside the reference's, sample by sample.

    `result` is None where the artifact could not be loaded, and `error` says why. `files` are the
    names present, `promises` those that the target owes. `dynamic` names the open axes by input, `form` is what the
    file may be like beside that, `device` where the target's artifacts are to run. `runs` is False where the toolchain
    only inspects what it makes: then there are no outputs.
    """

    recipe: Recipe
    precision: str
    promises: Sequence[str]
    files: Sequence[str]
    result: JobResult | None
    samples: Sequence[Sample]
    reference: Sequence[Outputs]
    outputs: Sequence[Outputs]
    decoder: Decoder | None
    dynamic: Mapping[str, Mapping[int, str]]
    random_weights: bool = False
    golden_waived: bool = False
    runs: bool = True
    error: str = ""
    form: Form = PLAIN
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What source and artifact found on one picture."""

    sample: str
    picture: Path
    reference: tuple[Prediction, ...]
    artifact: tuple[Prediction, ...]


class Evidence:
    """What the gates work out of a case, each thing once; raises RecipeError where a decoder does not fit."""

    def __init__(self, case: Case) -> None:
        names = [output.name for output in case.recipe.outputs]
        self.case = replace(case, reference=_named(case.reference, names), outputs=_named(case.outputs, names))

    @cached_property
    def limits(self) -> Limits:
        """Return what the gates tolerate; raises RecipeError where the precision has no limits."""
        return limits_for(self.case.precision, self.case.recipe.limits)

    @property
    def result(self) -> JobResult:
        """Return the job's result, which the first gate has seen to exist."""
        assert self.case.result is not None
        return self.case.result

    @property
    def shape_problems(self) -> Iterator[str]:
        """Yield where outputs have other shapes than the reference's: then nothing can be compared."""
        for sample, reference, output in self._triples:
            yield from parity.shape_problems(reference, output, sample.name)

    @cached_property
    def rows(self) -> tuple[ParityRow, ...]:
        """Return the parity of every column on every sample."""
        return tuple(parity.compare(ours, theirs, sample=sample.name, group=sample.group,
                                    limits=self._limits_of(sample))
                     for sample, reference, output in self._triples
                     for ours, theirs in self.column_pairs(sample, reference, output))

    @cached_property
    def unjudged(self) -> tuple[str, ...]:
        """Say which samples are shown and not judged, and why."""
        if all(self._judged(sample) for sample in self.case.samples):
            return ()
        return (f"random samples are shown, not judged: in {self.case.precision} they lie outside the measured ranges",)

    def _judged(self, sample: Sample) -> bool:
        only_noise = all(each.group == NOISE for each in self.case.samples)
        return self.limits.noise or only_noise or sample.group != NOISE

    def _limits_of(self, sample: Sample) -> Limits:
        return self.limits if self._judged(sample) else self.limits.lifted

    @cached_property
    def reference(self) -> tuple[Tried, ...]:
        """Return what the source found on each sample; nothing where there is no decoder."""
        return self._tried(self.case.reference)

    @cached_property
    def artifact(self) -> tuple[Tried, ...]:
        """Return what the artifact found on each sample; nothing where there is no decoder."""
        return self._tried(self.case.outputs)

    @property
    def pairs(self) -> Iterator[tuple[Sample, Sequence[Prediction], Sequence[Prediction]]]:
        """Yield, for each item of each sample, what source and artifact found."""
        for theirs, ours in zip(self.reference, self.artifact, strict=True):
            yield from ((ours.sample, *found) for found in zip(theirs.found, ours.found, strict=True))

    @property
    def judged_pairs(self) -> Iterator[tuple[Sample, Sequence[Prediction], Sequence[Prediction]]]:
        """Yield those of `pairs` that must agree."""
        yield from (pair for pair in self.pairs if self._judged(pair[0]))

    @property
    def seen(self) -> tuple[Seen, ...]:
        """Return what was found on each picture that is a sample of its own."""
        return tuple(Seen(sample=ours.sample.name, picture=ours.sample.pictures[0],
                          reference=tuple(theirs.found[0]), artifact=tuple(ours.found[0]))
                     for theirs, ours in zip(self.reference, self.artifact, strict=True) if ours.sample.pictures)

    @property
    def _triples(self) -> Iterator[tuple[Sample, Outputs, Outputs]]:
        return zip(self.case.samples, self.case.reference, self.case.outputs, strict=True)

    @property
    def judged_triples(self) -> Iterator[tuple[Sample, Outputs, Outputs]]:
        """Yield each sample that must agree, with the outputs of source and artifact."""
        yield from (triple for triple in self._triples if self._judged(triple[0]))

    def column_pairs(self, sample: Sample, reference: Outputs, output: Outputs) -> Iterator[tuple[Column, Column]]:
        """Yield the columns of a sample, the source's and the artifact's; raises RecipeError as the decoder does."""
        place = next((place for place in sample.placements if place), None)
        size = (place.input_height, place.input_width) if place else (0, 0)
        split = (_decoding(sample, lambda: parity.columns(reference, self.case.decoder, size)),
                 _decoding(sample, lambda: parity.columns(output, self.case.decoder, size)))
        return zip(*split, strict=True)

    def _tried(self, results: Sequence[Outputs]) -> tuple[Tried, ...]:
        decoder = self.case.decoder
        if decoder is None:
            return ()
        return tuple(Tried(sample=sample, found=_decoded(decoder, sample, outputs))
                     for sample, outputs in zip(self.case.samples, results, strict=True))


def _named(results: Sequence[Outputs], names: Sequence[str]) -> list[Outputs]:
    """Leave only the outputs that the recipe names: a source may have more."""
    return [{name: outputs[name] for name in names if name in outputs} for outputs in results]


def _decoded(decoder: Decoder, sample: Sample, outputs: Outputs) -> list[list[Prediction]]:
    found = _decoding(sample, lambda: decoder.decode(outputs, sample.placements))
    if len(found) != len(sample.placements):
        raise RecipeError(f"the decoder gave predictions for {len(found)} items of sample {sample.name}, "
                          f"which has {len(sample.placements)}")
    return found


def _decoding(sample: Sample, work: Callable[[], _Made]) -> _Made:
    """Let a model's own decoder fail as a problem of its recipe."""
    try:
        return work()
    except FarmError:
        raise
    except Exception as error:
        raise RecipeError(f"the decoder failed on sample {sample.name}: {type(error).__name__}: {error}",
                          remedy="compare the recipe's decoder with the shapes of the model's outputs") from error
