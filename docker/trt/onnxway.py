"""The way from ONNX to an engine by the Python builder and the ONNX parser, of each version of TensorRT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple

import engines
import passport
import rivals
from batches import in_batches
from building import Made, Wish, build
from calibrator import NAME as CALIBRATION
from calibrator import Feed, make_calibrator
from engines import ENGINE, driver, load_engine, obey_tf32, open_gpu, seal
from halves import candidates, find_floats
from jobkit import FileSource, Job, OptionError, Runtime, SourceError
from memory import Cuda
from parsing import Parsed, parse
from profiles import Range, plan, read_batch
from runtime import TrtModel
from timing import read_timing, write_timing
from trtapi import Api, find

# The whole package, and the one of bindings alone, as its index has them for TensorRT 10 and newer.
MODULES = ("tensorrt", "tensorrt_bindings")


@dataclass(frozen=True)
class Options:
    """What the recipe says for this target."""

    batch: Optional[Range]
    workspace: int
    tf32: bool
    floats: Tuple[str, ...]
    search: bool
    tolerance: float
    engines: int


@dataclass(frozen=True)
class Shop:
    """What engines are built with in one job."""

    job: Job
    api: Api
    cuda: Cuda
    options: Options
    source: Path


def read_options(job: Job) -> Options:
    """Parse ``job.options``. Raises OptionError where a value cannot be honoured."""
    tolerance = float(job.options.get("tolerance") or 0.01)
    if not 0 < tolerance < 1:
        raise OptionError(f"tolerance {tolerance:g} is not between 0 and 1", "0.01 is a hundredth of an output's range")
    return Options(
        batch=read_batch(job.options.get("batch")),
        workspace=int(job.options.get("workspace") or 1 << 30),
        tf32=bool(job.options.get("tf32", False)),
        floats=tuple(job.options.get("fp32_layers") or ()),
        search=bool(job.options.get("find_fp32_layers", True)),
        tolerance=tolerance,
        engines=max(2, int(job.options.get("search_engines") or 64)),
    )


def prepare(job: Job) -> None:
    """Refuse wrong options, and a machine without a GPU: TensorRT itself would say less."""
    read_options(job)
    obey_tf32(job)
    _open(job)


_shops: Dict[Path, Shop] = {}


def _open(job: Job) -> Shop:
    """Open the GPU once for a job."""
    if job.folder not in _shops:
        api = find(*MODULES)
        _shops[job.folder] = Shop(job, api, open_gpu(api), read_options(job), source_of(job))
    return _shops[job.folder]


def source_of(job: Job) -> Path:
    """Give the ONNX file. Raises SourceError where the source is something else."""
    if not isinstance(job.source, FileSource) or job.source.kind != "onnx":
        raise SourceError("the trt target reads an ONNX file", "the farm makes it with its onnx target")
    return job.source.file


def convert(job: Job) -> List[str]:
    """Make ``model.engine`` and its passport, for int8 the calibration cache too; give their names."""
    shop = _open(job)
    with shop.cuda.current():
        made = _made(shop)
    (job.out / ENGINE).write_bytes(made.engine)
    write_timing(job, made.timing)
    cache = [CALIBRATION] if (job.out / CALIBRATION).is_file() else []
    return [*seal(job, shop.api, shop.cuda), *cache]


def _made(shop: Shop) -> Made:
    """Build the engine; in half precision with the layers in fp32 that it needs."""
    wish = Wish(precision=shop.job.precision, workspace=shop.options.workspace, tf32=shop.options.tf32,
                floats=shop.options.floats, timing=read_timing(shop.job))  # fmt: skip
    if shop.job.precision == "int8":
        return _calibrated(shop, wish)
    with shop.job.events.step(f"build the engine in {shop.job.precision}"):
        made = _built(shop, wish)
    if shop.job.precision == "fp16" and shop.options.search and not shop.options.floats:
        made = _held(shop, replace(wish, timing=made.timing), made)
    return made


def _built(shop: Shop, wish: Wish, calibrating: Optional[Dict[str, Any]] = None) -> Made:
    """Build one engine: the network is parsed anew, as the types of its layers stay once they are set.

    `calibrating` is one of the samples that calibrate it.
    """
    parsed = parse(shop.api, shop.source)
    profile = _profile(shop, parsed)
    shapes = {name: tuple(calibrating[name].shape) for name in profile} if calibrating else {}
    fixed = {name: Range(shape, shape, shape) for name, shape in shapes.items()}
    return build(parsed, replace(wish, profile=profile, calibration=fixed))


def _profile(shop: Shop, parsed: Parsed) -> Dict[str, Range]:
    shapes = {tensor.name: tuple(tensor.shape) for tensor in parsed.inputs}
    return plan(shapes, {item.name: item.shape for item in shop.job.inputs}, shop.options.batch)


def _calibrated(shop: Shop, wish: Wish) -> Made:
    """Build in int8 with ranges that TensorRT measures on the calibration set."""
    samples = shop.job.calibration
    if samples is None:
        raise OptionError("int8 wants calibration samples", "name some in the recipe: calibration: {pictures: [...]}")
    held: Dict[str, int] = {}
    locked: List[Any] = []

    def upload(name: str, array: Any) -> int:
        if name not in held:
            held[name] = shop.cuda.allocate(array.nbytes)
            locked.append(shop.cuda.page_locked(array.nbytes))
        staged = locked[list(held).index(name)]
        staged[: array.nbytes] = array.reshape(-1).view("uint8")
        shop.cuda.to_device(held[name], staged[: array.nbytes])
        shop.cuda.wait()
        return held[name]

    calibrator = make_calibrator(shop.api.trt, Feed(samples, upload), shop.job.out / CALIBRATION)
    try:
        with shop.job.events.step(f"calibrate on {len(samples)} samples and build the engine in int8"):
            made = _built(shop, replace(wish, calibrator=calibrator), samples[0])
    finally:
        for address in held.values():
            shop.cuda.free(address)
    if calibrator.error:
        raise calibrator.error
    return made


def _held(shop: Shop, wish: Wish, half: Made) -> Made:
    """Give an engine in half precision that computes what the one in fp32 does, with as few layers in fp32 as it takes.

    The engine `half`, without any, is the first that is tried.
    """
    job, known = shop.job, {frozenset(): half}
    samples = list(job.samples)
    with job.events.step("compare half precision with fp32"):
        exact = _built(shop, replace(wish, precision="fp32"))
        wanted = _run(shop, exact, samples)

    def outputs(kept: FrozenSet[str]) -> List[Dict[str, Any]]:
        if kept not in known:
            with job.events.step(f"build with {len(kept)} layers in fp32"):
                known[kept] = _built(shop, replace(wish, floats=tuple(sorted(kept))))
        return _run(shop, known[kept], samples)

    layers = candidates(parse(shop.api, shop.source).layers, shop.api.trt.float32)
    found = find_floats(layers, outputs, wanted, shop.options.tolerance, shop.options.engines)
    job.facts["fp32 layers"] = found
    if found:
        job.events.note(f"{len(found)} of {len(layers)} layers stay in fp32: {', '.join(found)}")
    return known[frozenset(found)]


def _run(shop: Shop, made: Made, samples: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Run an engine that is not the artifact on the samples."""
    card = shop.cuda.card
    with TemporaryDirectory(prefix="trt-") as temporary:
        engine = Path(temporary) / ENGINE
        engine.write_bytes(made.engine)
        passport.issue(engine, tensorrt=shop.api.version, gpu=card.name, capability=card.capability, driver=driver(),
                       cuda=card.cuda).write(engine.parent)  # fmt: skip
        with TrtModel(engine, trt=shop.api.trt, cuda=shop.cuda) as model:
            run = in_batches(model, model.inputs)
            return [run(sample) for sample in samples]


def load(files: Sequence[str], job: Job) -> Runtime:
    """Load the engine, after a look at its passport, and show it to the farm; beside a new one its file is measured."""
    shop = _open(job)
    engine = load_engine(files, job, shop.api, shop.cuda)
    if job.given:
        return engine

    def figures(sample: Dict[str, Any]) -> Dict[str, float]:
        return {**engine.figures(sample), **rivals.measured(job, shop.source, sample)}

    return replace(engine, figures=figures)


def reference(job: Job) -> Runtime:
    """Give the ONNX file in an evaluator on the CPU."""
    return engines.reference(source_of(job))
