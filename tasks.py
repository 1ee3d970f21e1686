"""Invoke tasks: what the Makefile calls. Each opens the farm and calls one thing.

Imports stand inside the tasks: `invoke` loads this file for every command, and a cached conversion must be quick.
"""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from modelfarm.door import door


@task
def convert(context: Context, target: str = "onnx", model: str = "", weights: str = "", options: str = "",
            precision: str = "", via: str = "", batch: str = "", expect: str = "") -> None:
    """Convert models to a target, prove the result, and keep it."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.plan import Request

        request = Request(weights=weights, options=options, precision=precision, via=via, batch=batch, expect=expect)
        raise SystemExit(Farm.here().convert(target, model, request, console))


@task
def nightly(context: Context, model: str = "", weights: str = "") -> None:
    """Make every variant of every model, and say what became of each."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.plan import Request
        from modelfarm.shift import work

        raise SystemExit(work(Farm.here(), model, Request(weights=weights), console))


@task
def worker(context: Context, name: str = "") -> None:
    """Become a worker of the cluster that ENGINE= names."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.hand import labour

        labour(Farm.here(), name, console)


@task
def compare(context: Context, target: str = "tflite", model: str = "", weights: str = "", options: str = "",
            precision: str = "", via: str = "", expect: str = "") -> None:
    """Show what the ways and precisions of a target make of a model, side by side."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.plan import Request

        request = Request(weights=weights, options=options, precision=precision, via=via, expect=expect)
        raise SystemExit(Farm.here().compare(target, model, request, console))


@task
def demo(context: Context) -> None:
    """Convert the bundled model and show what it sees."""
    with door() as console:
        from modelfarm.demo import demonstrate
        from modelfarm.farm import Farm

        raise SystemExit(demonstrate(Farm.here(), console))


@task
def models(context: Context) -> None:
    """List what there is to convert."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().list_models(console)


@task
def status(context: Context) -> None:
    """List what has been converted."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().list_artifacts(console)


@task
def report(context: Context) -> None:
    """Write the HTML report of everything in the store."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().report(console)


@task
def show(context: Context, model: str = "", variant: str = "onnx") -> None:
    """Print the smoke-test report of the latest artifact."""
    with door() as console:
        from modelfarm.farm import Farm

        console.line(Farm.here().artifact(model, variant).path("smoke.log").read_text())


@task
def look(context: Context, model: str = "", variant: str = "onnx", picture: str = "") -> None:
    """Run the latest artifact on a picture, and draw what it sees."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().look(model, variant, picture, console)


@task
def gpu_check(context: Context, model: str = "") -> None:
    """Build and measure every way and precision of the targets for GPUs."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.gpucheck import check

        raise SystemExit(check(Farm.here(), model, console))


@task
def why(context: Context, target: str = "onnx", model: str = "", variant: str = "", weights: str = "",
        options: str = "", precision: str = "", via: str = "", batch: str = "", expect: str = "") -> None:
    """Say what of a job's key has changed since the latest artifact."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.plan import Request

        request = Request(weights=weights, options=options, precision=precision, via=via, batch=batch, expect=expect)
        Farm.here().explain(target, model, variant, request, console)


@task
def reproduce(context: Context, target: str = "onnx", model: str = "", variant: str = "", weights: str = "") -> None:
    """Make the latest artifact again from its manifest, and compare bytes, then behaviour."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().reproduce(target, model, variant, weights, console)


@task
def job(context: Context, target: str = "onnx", model: str = "", variant: str = "", weights: str = "",
        options: str = "", precision: str = "", via: str = "", batch: str = "", folder: str = "") -> None:
    """Write the folder that a toolchain gets, for trying a converter by hand."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.plan import Request

        request = Request(weights=weights, options=options, precision=precision, via=via, batch=batch)
        Farm.here().write_job(target, model, variant, folder, request, console)


@task
def edit(context: Context, model: str = "", batch: str = "", keep: str = "", remove: str = "",
         weights: str = "") -> None:
    """Make a model's graph anew with another batch, or without some of its branches, and prove it."""
    with door() as console:
        from modelfarm.edits import read_edit
        from modelfarm.farm import Farm
        from modelfarm.plan import Request

        request = Request(weights=weights, edit=read_edit(batch=batch, keep=keep, remove=remove))
        raise SystemExit(Farm.here().convert("onnx", model, request, console))


@task
def diff(context: Context, one: str = "", other: str = "") -> None:
    """Show how two graphs differ."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().diff(one, other, console)


@task
def lint(context: Context, target: str = "", model: str = "", weights: str = "") -> None:
    """Say what targets will not take of a model, before any conversion."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.plan import Request

        raise SystemExit(Farm.here().lint(target, model, Request(weights=weights), console))


@task
def images(context: Context, target: str = "") -> None:
    """Build toolchain images, and let them test themselves."""
    with door() as console:
        from modelfarm.farm import Farm

        raise SystemExit(Farm.here().images().build(target, console))


@task
def base(context: Context) -> None:
    """Make the Debian that images stand on with debootstrap."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().images().make_bases(console)


@task
def pull(context: Context, target: str = "") -> None:
    """Fetch the published images by digest."""
    with door() as console:
        from modelfarm.farm import Farm

        raise SystemExit(Farm.here().images().pull(target, console))


@task
def push(context: Context, target: str = "", registry: str = "") -> None:
    """Publish images, and write the lock."""
    with door() as console:
        from modelfarm.farm import Farm

        raise SystemExit(Farm.here().images().push(target, registry, console))


@task
def publish(context: Context, model: str = "", variant: str = "", target: str = "", registry: str = "",
            sign_key: str = "", force: str = "") -> None:
    """Publish artifacts to a registry, signed where there is a key."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.registry.desk import Order

        order = Order(models=model, variant=variant, target=target, registry=registry, key=sign_key)
        raise SystemExit(Farm.here().publish(order, force not in ("", "0"), console))


@task
def fetch(context: Context, model: str = "", variant: str = "", target: str = "", version: str = "",
          digest: str = "", registry: str = "", verify_key: str = "") -> None:
    """Fetch artifacts from a registry into the store, each verified before it enters."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.registry.desk import Order

        order = Order(models=model, variant=variant, target=target, version=version, digest=digest,
                      registry=registry, key=verify_key)
        raise SystemExit(Farm.here().fetch(order, console))


@task
def doctor(context: Context) -> None:
    """Say what this machine can and cannot do, and the remedies."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().examine(console)


@task
def view(context: Context, model: str = "", variant: str = "onnx", port: str = "8080") -> None:
    """Show the graph of the latest artifact in netron, on loopback."""
    with door() as console:
        from modelfarm.farm import Farm
        from modelfarm.viewer import view_graph

        view_graph(Farm.here().artifact(model, variant), port, console)


@task
def gc(context: Context, keep: str = "3") -> None:
    """Remove all but the newest versions of each variant."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().collect(keep, console)


@task
def clean(context: Context) -> None:
    """Remove failures and what killed runs left."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().clean(console)


@task
def schema(context: Context) -> None:
    """Write the JSON Schema of recipes, which editors complete from."""
    with door() as console:
        from modelfarm.farm import Farm

        Farm.here().write_schema(console)


@task
def check(context: Context) -> None:
    """Check style, types, coverage of the core and the size of the tests."""
    from ci import checks

    raise SystemExit(checks.run())


@task
def bench(context: Context) -> None:
    """Measure, as ratios of pairs in one run."""
    from ci import bench as benchmarks

    raise SystemExit(benchmarks.run())
