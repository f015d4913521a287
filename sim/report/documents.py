"""Results for programs: one JSON object, and JUnit's XML for CI systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Any
from xml.etree import ElementTree

import msgspec

from sim.verdict.outcome import Outcome, Quantiles, Verdict, Violation

# The names of fields in JSON, where they differ from those in the code.
_NAMES = {"goals": "probes", "missed_goals": "missed_probes"}
_WORST_FIRST = (Verdict.BROKEN, Verdict.INCONCLUSIVE, Verdict.HELD)


def to_json(outcomes: Sequence[Outcome], *, whole: bool = True) -> bytes:
    """The results as one JSON object.

    One run is an object. Several are one object too: `seed` and `command` of the first of the worst,
    `workers` of the largest, times and counts summed, quantiles and peaks the worst; each run is one of
    `runs`. `interrupted` is true unless these are the `whole` of the runs that were asked for.
    """
    documents = [_document(outcome) for outcome in outcomes]
    document = documents[0] if len(documents) == 1 else {**_sums(outcomes), "runs": documents}
    document["interrupted"] = not whole
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _document(outcome: Outcome) -> dict[str, Any]:
    document = {_NAMES.get(name, name): value for name, value in asdict(outcome).items()}
    document["verdict"] = outcome.verdict.value
    return document


def _sums(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    worst = min(outcomes, key=lambda outcome: _WORST_FIRST.index(outcome.verdict))

    def total(figure: Callable[[Outcome], float]) -> Any:
        return sum(map(figure, outcomes))

    def counted(figures: Callable[[Outcome], dict[str, int]]) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for outcome in outcomes:
            sums.update(figures(outcome))
        return dict(sums)

    hashes = blake2b("".join(outcome.trace_hash for outcome in outcomes).encode(), digest_size=16)
    return {
        "verdict": worst.verdict.value,
        "scenario": ",".join(dict.fromkeys(outcome.scenario for outcome in outcomes)),
        "seed": worst.seed,
        "command": worst.command,
        "workers": max(outcome.workers for outcome in outcomes),
        "depth": ",".join(dict.fromkeys(outcome.depth for outcome in outcomes)),
        "virtual_seconds": total(lambda outcome: outcome.virtual_seconds),
        "wall_seconds": total(lambda outcome: outcome.wall_seconds),
        "heartbeats": total(lambda outcome: outcome.heartbeats),
        "registrations": total(lambda outcome: outcome.registrations),
        "trace_hash": hashes.hexdigest(),
        "violations": [
            {"scenario": outcome.scenario, "seed": outcome.seed, **asdict(violation)}
            for outcome in outcomes
            for violation in outcome.violations
        ],
        "violations_total": total(lambda outcome: outcome.violations_total),
        "checks": counted(lambda outcome: outcome.checks),
        "probes": counted(lambda outcome: outcome.goals),
        "missed_probes": list(dict.fromkeys(name for outcome in outcomes for name in outcome.missed_goals)),
        "detection_seconds": _worst([outcome.detection_seconds for outcome in outcomes]),
        "recovery_seconds": _worst([outcome.recovery_seconds for outcome in outcomes]),
        "false_positives": total(lambda outcome: outcome.false_positives),
        "peak_registrations_per_second": max(outcome.peak_registrations_per_second for outcome in outcomes),
        "messages": counted(lambda outcome: asdict(outcome.messages)),
    }


def _worst(quantiles: Sequence[Quantiles]) -> dict[str, float]:
    """The largest of each quantile of any run; `count` is summed."""
    worst = {name: max(getattr(each, name) for each in quantiles) for name in ("p50", "p95", "p99", "max")}
    return {**worst, "count": sum(each.count for each in quantiles)}


def to_junit(outcomes: Sequence[Outcome]) -> bytes:
    """A test case for each run: a broken promise is a failure, a run that shows nothing an error."""
    verdicts = [outcome.verdict for outcome in outcomes]
    suite = ElementTree.Element(
        "testsuite",
        name="minicloud-sim",
        tests=str(len(outcomes)),
        failures=str(verdicts.count(Verdict.BROKEN)),
        errors=str(verdicts.count(Verdict.INCONCLUSIVE)),
        skipped="0",
        time=f"{sum(outcome.wall_seconds for outcome in outcomes):.3f}",
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"minicloud-sim.{_plain(outcome.scenario)}",
            name=f"{_plain(outcome.scenario)} seed={outcome.seed} workers={outcome.workers}",
            time=f"{outcome.wall_seconds:.3f}",
        )
        for violation in outcome.violations:
            failure = ElementTree.SubElement(
                case, "failure", type=_plain(violation.promise), message=_plain(violation.text)
            )
            failure.text = _plain(_describe(violation))
        if outcome.verdict is Verdict.INCONCLUSIVE:
            message = f"never happened: {', '.join(outcome.missed_goals)}"
            ElementTree.SubElement(case, "error", type="inconclusive", message=_plain(message))
        if outcome.command:
            ElementTree.SubElement(case, "system-out").text = _plain(outcome.command)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _describe(violation: Violation) -> str:
    return "\n".join([f"{violation.text} (at {violation.at_s:.3f} s, {violation.node})", *violation.context])


def _plain(text: str) -> str:
    """The text with escapes in place of characters that XML cannot hold."""
    return "".join(
        char if char in "\t\n" or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
