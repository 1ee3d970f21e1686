"""The smoke report's text: what a person wants to read about one verified job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelfarm.artifact import BUILT
from modelfarm.gates.diagnosis import losses
from modelfarm.phrase import rounded, size

Document = Mapping[str, Any]

_WIDTH = 100
_LISTED = 8  # landmarks in a line; smoke.json has all
_BAR = 30  # characters of the longest step's bar
_SHOWN = ("python", "torch", "onnx", "onnxruntime")  # versions worth a line; smoke.json has all
_MARKS = {"passed": "passed", "failed": "FAILED", "skipped": "skipped", "not run": "not run"}


def smoke_text(document: Document) -> str:
    """Write the report of a smoke document; all figures are the document's own."""
    sections = [_head(document), _gates(document), _parity(document), _integers(document), _metadata(document),
                _devices(document), _predictions(document), _measures(document), _times(document)]
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section))) + "\n"


def _head(document: Document) -> Iterator[str]:
    yield f"{document['model']} / {document['variant']}   version {document['version']}"
    yield "=" * _WIDTH
    if document["description"]:
        yield document["description"]
    yield ""
    if document["random_weights"]:
        yield "  weights  RANDOM: good for sizes and times, not for results"
    yield f"  made     {document['made_at']}, runner {document['runner']}, precision {document['precision']}"
    chosen = [item for item in document["made_from"] if item["role"] not in ("pictures", "arrays")]
    for index, item in enumerate(chosen):
        yield f"  {'from' if not index else '':<8} {item['name']} (sha256 {item['sha256'][:12]}…)"
    versions = document.get("versions", {})
    if shown := [f"{name} {versions[name]}" for name in _SHOWN if name in versions]:
        yield f"  with     {', '.join(shown)}"
    if options := [f"{name}={_brief(value)}" for name, value in document["options"].items()]:
        yield f"  options  {', '.join(options)}"


def _gates(document: Document) -> Iterator[str]:
    gates = document["gates"]
    counts = [f"{sum(gate['state'] == state for gate in gates)} {state}" for state in _MARKS
              if any(gate["state"] == state for gate in gates)]
    yield _title("gates", ", ".join(counts) + ("" if document["passed"] else ": not published"))
    if document["verified"] == BUILT:
        yield "  BUILT, NOT RUN: the file is whole and has the right signature; nobody has seen here what it computes"
    said = ""
    for gate in gates:
        repeated, said = gate["state"] == "not run" and gate["summary"] == said, gate["summary"]
        first, *rest = _wrapped("" if repeated else gate["summary"], _WIDTH - 23)
        yield f"  {_MARKS[gate['state']]:<8} {gate['name']:<12} {first}".rstrip()
        yield from (f"{'':<23} {line}" for line in rest)
        yield from (f"{'':<23} - {reason}" for reason in gate["reasons"])


def _parity(document: Document) -> Iterator[str]:
    if not document["columns"]:
        return
    yield _title("parity with the source", "greatest errors over all samples")
    header = ("column", "unit", "max", "mean", "relative", "cosine", "limit", "worst sample")
    rows = [(row["column"] + ("" if row["passed"] else " !"), row["unit"], _figure(row["max_error"]),
             _figure(row["mean_error"]), _figure(row["relative"]), str(row["cosine"]), _limit(row["limit"]),
             f"{row['sample']} (of {row['samples']})") for row in document["columns"]]
    yield from _table(header, rows, left=(0, 1, 7))


def _integers(document: Document) -> Iterator[str]:
    """Say what the integers of a quantised artifact stand for, and where it loses what the float one has."""
    facts = document.get("facts", {})
    held, layers = facts.get("quantisation"), facts.get("layers")
    if not held and not layers:
        return
    yield _title("quantisation", "beside a float file of the same graph" if layers else "")
    yield from _table(("tensor", "scale", "zero point", "from", "to"),
                      [(entry["tensor"], _figure(entry["scale"]), str(entry["zero_point"]), _figure(entry["minimum"]),
                        _figure(entry["maximum"])) for entry in held or ()], left=(0,))
    if layers:
        lost = "some fall" if layers["first"] else "none falls"
        yield f"  {layers['compared']} layers on {layers['samples']} inputs: {lost} below {layers['limit_db']:g} dB"
        yield from (f"  - {line}" for line in losses(facts))


def _metadata(document: Document) -> Iterator[str]:
    """Say what the file tells those who use it of itself, as it was read back from it."""
    if lines := document.get("facts", {}).get("metadata"):
        yield _title("what the file says of itself", "its metadata, read back")
        yield from (f"  {line}" for line in lines)


def _devices(document: Document) -> Iterator[str]:
    """Say how close each further device of the same runtime came, one line each."""
    if document["devices"]:
        yield _title("other devices", "the same gates on the same samples")
    for name, found in document["devices"].items():
        figures = ", ".join(f"{_figure(error)} {unit}" for unit, error in found["worst"].items())
        yield f"  {_MARKS['passed' if found['passed'] else 'failed']:<8} {name:<12} " + (
            found["failure"] or f"greatest error: {figures}")


def _predictions(document: Document) -> Iterator[str]:
    seen = document["predictions"]
    if not seen:
        return
    yield _title("predictions", "the artifact's, and where the source's read otherwise those too")
    width = max(len(entry["sample"]) for entry in seen)
    for entry in seen:
        ours = [described(found) for found in entry["artifact"]] or ["nothing found"]
        theirs = [described(found) for found in entry["reference"]] or ["nothing found"]
        for index, line in enumerate(ours):
            yield f"  {entry['sample'] if not index else '':<{width}}  {line}"
        if theirs != ours:
            yield from (f"  {'':<{width}}  source: {line}" for line in theirs)


def described(found: Mapping[str, Any]) -> str:
    """Write one prediction of a smoke document in one line."""
    if "labels" in found:
        ranked = list(zip(found["labels"], found["scores"], strict=True))[:3]
        return ", ".join(f"{label} {_figure(score)}" for label, score in ranked)
    marks = found["landmarks"]
    points = "".join(f" {x:.1f},{y:.1f}" for x, y in marks[:_LISTED])
    more = f" and {len(marks) - _LISTED} more" if len(marks) > _LISTED else ""
    box = " ".join(f"{value:.1f}" for value in found["box"])
    return f"{found['score']:.4f} at {box}" + (f"; landmarks{points}{more}" if points else "")


def _measures(document: Document) -> Iterator[str]:
    before = document["previous"] or {}
    yield _title("latency and size", f"beside {before['version']}, the last good one" if before else "")
    latency = document.get("latency")
    if latency:
        earlier = before.get("latency") or {}
        yield (f"  latency  {_figure(latency['median_ms'])} ms median, {_figure(latency['p95_ms'])} ms p95 of "
               f"{latency['runs']} runs on {latency['sample']}"
               + _change(latency["median_ms"], earlier.get("median_ms")))
        yield from (f"           {name}: {_figure(value)}" for name, value in latency.get("figures", {}).items())
    if where := document.get("device"):
        yield f"  device   {where['used']} ({where['detail']})"
    yield f"  size     {size(document['size'], 'bytes')}" + _change(document["size"], before.get("size"))
    if len(document["files"]) > 1:
        yield from (f"           {name} {size(count, 'bytes')}" for name, count in document["files"].items())


def _times(document: Document) -> Iterator[str]:
    timings = {step: spent for step, spent in document["timings"].items() if isinstance(spent, int | float)}
    if not timings:
        return
    yield _title("where the time went", "seconds")
    width, longest = max(map(len, timings)), max(timings.values()) or 1
    for step, spent in timings.items():
        yield f"  {step:<{width}}  {spent:>8.3g}  {'█' * round(_BAR * spent / longest)}".rstrip()


def _title(words: str, remark: str = "") -> str:
    return f"{words} ({remark})" if remark else words


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = (f"{cell:<{width}}" if column in left else f"{cell:>{width}}"
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        yield ("  " + "  ".join(cells)).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else rounded(value)


def _limit(value: float | str) -> str:
    """Write a limit; a sample that is only shown has none, which JSON can only name."""
    return "shown" if value == "inf" else _figure(value)


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_brief(item)}" for name, item in value.items()) + "}"
    return size(value) if isinstance(value, int) and value >= 1 << 20 else str(value)


def _change(now: float, before: float | None) -> str:
    if not before:
        return ""
    percent = 100 * (now - before) / before
    return "  (as before)" if abs(percent) < 1 else f"  ({percent:+.0f} %)"
