"""What a PromQL query asks for, held against what a process tells: names of series, their labels, what may be counted."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import promql_parser as promql
from prometheus_client import metrics as kinds

from shared import metrics

SCRAPED = {"job", "instance"}  # Prometheus adds these to all that it scrapes
OTHERS = (
    "up",
    # prometheus_client's own, where the system tells them
    "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds",
    "process_open_fds", "process_max_fds",
)  # fmt: skip
BUILD = {"version", "services"}  # the labels of the one Info, which declares none
VARIABLES = {"$__rate_interval": "5m", "$job": "classis"}  # of the dashboard
OVER_TIME = {"rate", "increase"}  # of counters alone


class Wrong(Exception):
    """The query asks for what there is not."""


def declared() -> list[kinds.MetricWrapperBase]:
    """The metrics of shared/metrics.py."""
    return [value for value in vars(metrics).values() if isinstance(value, kinds.MetricWrapperBase)]


@cache
def series() -> dict[str, set[str]]:
    """The labels of every series that a process tells, by its name."""
    return {name: labels | SCRAPED for name, labels in _ours()} | dict.fromkeys(OTHERS, SCRAPED)


def _ours() -> Iterator[tuple[str, set[str]]]:
    for metric in declared():
        name, labels = metric._name, set(metric._labelnames)
        match metric._type:
            case "histogram":
                yield f"{name}_bucket", labels | {"le"}
                yield from ((f"{name}_{suffix}", labels) for suffix in ("count", "sum"))
            case "counter":
                yield f"{name}_total", labels
            case "info":
                yield f"{name}_info", BUILD
            case _:
                yield name, labels


def labels(query: str) -> set[str]:
    """The labels of what a query gives. Raises Wrong."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    try:
        return _labels(promql.parse(query))
    except ValueError as error:
        raise Wrong(f"{query}: {error}") from error


def _labels(asked: promql.Expr) -> set[str]:
    how = KINDS.get(type(asked))
    return how(asked) if how else set()  # nothing: a number or a text


def _of_selector(asked: promql.VectorSelector) -> set[str]:
    if asked.name not in series():
        raise Wrong(f"{asked.name} is not counted")
    there = series()[asked.name]
    _check({matcher.name for matcher in asked.matchers.matchers}, there, asked)
    return there


def _of_aggregate(asked: promql.AggregateExpr) -> set[str]:
    found = _labels(asked.expr)
    if asked.modifier is None:
        return set()
    named = set(asked.modifier.labels)
    _check(named, found, asked)
    return named if asked.modifier.type == promql.AggModifierType.By else found - named


def _of_binary(asked: promql.BinaryExpr) -> set[str]:
    left, right = _labels(asked.lhs), _labels(asked.rhs)
    if _is_number(asked.lhs) or _is_number(asked.rhs):
        return left | right
    matching = asked.modifier.matching if asked.modifier else None
    if matching is None:
        if left != right:
            raise Wrong(f"the two sides never match in {asked.prettify()}")
        return left
    named = set(matching.labels)
    _check(named, left & right, asked)
    return left - named if matching.type == promql.LabelModifierType.Exclude else named


def _is_number(asked: promql.Expr) -> bool:
    if isinstance(asked, promql.ParenExpr):
        return _is_number(asked.expr)
    called = isinstance(asked, promql.Call) and asked.func.return_type == promql.ValueType.Scalar
    return called or isinstance(asked, promql.NumberLiteral)


def _of_call(asked: promql.Call) -> set[str]:
    found: set[str] = set().union(*map(_labels, asked.args))
    if asked.func.name in OVER_TIME:
        _check_counter(asked)
    if asked.func.name == "histogram_quantile":
        _check({"le"}, found, asked)
        return found - {"le"}
    return found


def _check_counter(asked: promql.Call) -> None:
    [counted] = asked.args
    name = str(counted.vector_selector.name)
    if not name.endswith(("_total", "_count", "_sum", "_bucket")):
        raise Wrong(f"{asked.func.name} of {name}, which is no counter")


def _check(named: set[str], there: set[str], asked: promql.Expr) -> None:
    if unknown := named - there:
        raise Wrong(f"{', '.join(sorted(unknown))} is no label in {asked.prettify()}")


KINDS: dict[type[promql.Expr], Callable[[Any], set[str]]] = {
    promql.VectorSelector: _of_selector,
    promql.MatrixSelector: lambda asked: _of_selector(asked.vector_selector),
    promql.AggregateExpr: _of_aggregate,
    promql.BinaryExpr: _of_binary,
    promql.Call: _of_call,
    promql.ParenExpr: lambda asked: _labels(asked.expr),
    promql.UnaryExpr: lambda asked: _labels(asked.expr),
    promql.SubqueryExpr: lambda asked: _labels(asked.expr),
}
