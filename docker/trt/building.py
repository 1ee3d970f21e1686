"""Building an engine of a parsed network: precision, profiles, workspace, layers in fp32, and the timing cache."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from jobkit import GraphError, OptionError
from parsing import Parsed
from profiles import Range

# As in: Error Code 1: Myelin ([pass.cpp:337: check] Cannot compile. In compileGraph at /_src/optimizer/myelin.cpp:2)
_WRAPPED = re.compile(r"Error Code \d+: (?:[\w ]+ \((?:\[[^]]*\] ?)?)?(.*?)(?: In \w+ at /.*)?\)?$")

# What TensorRT says where memory ran out; the last is its compiler, which asked for memory and got none.
MEMORY = ("bad_alloc", "out of memory", "outofmemory", "mem_alloc_failed", "cannot allocate", "check(p) failed")


@dataclass(frozen=True)
class Wish:
    """What an engine is to be.

    `profile` has the shapes of inputs with free axes, `calibration` those in which the calibrator gives them: without,
    TensorRT would read as much as the usual shape has; `floats` are layers that stay in fp32; `timing` is a timing
    cache of an earlier build, empty for a new one, and None where the version keeps none; `capabilities` are compute
    capabilities of GPUs, empty for the one that is here. TF32 is fp32 with 10 bits less, and off unless asked for.
    """

    precision: str
    profile: Mapping[str, Range] = field(default_factory=dict)
    workspace: Optional[int] = None
    tf32: bool = False
    floats: Tuple[str, ...] = ()
    calibrator: Any = None
    calibration: Mapping[str, Range] = field(default_factory=dict)
    timing: Optional[bytes] = None
    capabilities: Tuple[int, ...] = ()


@dataclass(frozen=True)
class Made:
    """An engine as bytes, and the timing cache after its build; None where none was kept."""

    engine: bytes
    timing: Optional[bytes]


class BuildError(GraphError):
    """TensorRT has parsed the network and cannot build it; `reason` is what it said."""

    def __init__(self, message: str, remedy: str, reason: str) -> None:
        """Keep the reason beside what other refusals have."""
        super().__init__(message, remedy)
        self.reason = reason


def build(parsed: Parsed, wish: Wish) -> Made:
    """Build an engine.

    Raises BuildError with TensorRT's own words, MemoryError where memory ran out, OptionError where a wish cannot be
    honoured.
    """
    config = configure(parsed, wish)
    cache = _use_timing(config, wish.timing)
    engine = parsed.builder.build_serialized_network(parsed.network, config)
    if engine is None:
        raise _failure(parsed)
    timing = bytes(config.get_timing_cache().serialize()) if cache is not None else None
    return Made(bytes(engine), timing)


def configure(parsed: Parsed, wish: Wish) -> Any:
    """Give TensorRT's configuration for a wish."""
    api, config = parsed.api, parsed.builder.create_builder_config()
    api.set_precision(config, wish.precision)
    if not wish.tf32:
        config.clear_flag(api.trt.BuilderFlag.TF32)
    if wish.workspace:
        api.limit_workspace(config, wish.workspace)
    if wish.profile:
        config.add_optimization_profile(_profile(parsed, wish.profile))
    if wish.calibrator is not None:
        api.set_calibrator(config, wish.calibrator)
    if wish.calibration:
        config.set_calibration_profile(_profile(parsed, wish.calibration))
    if wish.floats:
        api.keep_float(config, choose_layers(parsed.layers, wish.floats))
    api.set_capabilities(config, wish.capabilities)
    config.profiling_verbosity = api.trt.ProfilingVerbosity.DETAILED
    return config


def _profile(parsed: Parsed, shapes: Mapping[str, Range]) -> Any:
    profile = parsed.builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, shape.least, shape.usual, shape.most)
    if not profile:
        raise OptionError(f"{parsed.api.title} does not take the profile {dict(shapes)}", "see convert.log")
    return profile


def choose_layers(layers: Sequence[Any], names: Sequence[str]) -> List[Any]:
    """Give the layers of these names. Raises OptionError for a name that there is not, with the nearest."""
    known = {layer.name: layer for layer in layers}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the first are {', '.join(list(known)[:5])}"
            raise OptionError(f"the network has no layer {name!r}; {hint}", "layers have the names of the ONNX nodes")
    return [known[name] for name in names]


def _use_timing(config: Any, timing: Optional[bytes]) -> Any:
    if timing is None:
        return None
    cache = config.create_timing_cache(timing)
    # A cache of another GPU or version would be wrong, and is refused.
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _failure(parsed: Parsed) -> Exception:
    said = [_plain(line) for line in parsed.log.errors] or ["it did not say why"]
    if any(word in line.lower() for line in parsed.log.errors for word in MEMORY):
        return MemoryError(said[-1])
    return BuildError(
        f"{parsed.api.title} {parsed.api.version} cannot build the network: {said[0]}",
        "another precision, or an edit of the graph, may help; convert.log holds all that it said",
        said[0],
    )


def _plain(said: str) -> str:
    """Leave out where in TensorRT's own source a message comes from."""
    found = _WRAPPED.search(said)
    return found[1].strip() if found else said
