"""PromQL: instant and range queries, and what is done with the text of a query alone."""

from __future__ import annotations

import asyncio
import json

from ingest.config import QuerySettings
from ingest.errors import PromqlError
from ingest.prometheus.documents import dump, matrix, scalar, string, success, vector
from ingest.prometheus.question import Question
from ingest.prometheus.request import BadParameter, Form, steps_of
from ingest.prometheus.trees import translated
from ingest.promql.evaluate import Answer, Options, Query
from ingest.promql.parser import Features, parse
from ingest.promql.printer import pretty
from ingest.promql.tree import Node

TRUNCATED = "results truncated due to limit"
STATS_DEPRECATED = (
    'value {} for parameter "stats" is deprecated and will be rejected in the next major release,'
    ' use "true" or "all"'
)
DEFAULT_STEP_MS = 60_000
"""Of subqueries that say none: Prometheus' default evaluation interval."""
FEATURES = {
    "promql-experimental-functions": "experimental_functions",
    "promql-duration-expr": "duration_expressions",
    "promql-extended-range-selectors": "extended_ranges",
    "promql-binop-fill-modifiers": "fill_modifiers",
    "promql-delayed-name-removal": "delayed_name_removal",
    "type-and-unit-labels": "type_and_unit_labels",
    "use-start-timestamps": "start_timestamps",
}
"""Of the engine, by the flags of Prometheus."""


async def instant(question: Question) -> bytes:
    """The value of a query at one time."""
    form = question.form
    at_ms = form.time_ms("time", question.now_ms)
    answer = await _evaluated(question, form, at_ms, None, 0)
    with question.stage("render"):
        return _document(question, answer, at_ms)


async def over_range(question: Question) -> bytes:
    """The value of a query at each of many times."""
    form = question.form
    steps = steps_of(form)
    answer = await _evaluated(question, form, *steps)
    with question.stage("render"):
        return _document(question, answer, steps.end_ms)


async def formatted(question: Question) -> bytes:
    """The text of a query as Prometheus lays it out."""
    tree = _parsed(question.form, question.settings.query)
    return success(dump(pretty(tree)))


async def parsed(question: Question) -> bytes:
    """The tree of a query."""
    tree = _parsed(question.form, question.settings.query)
    return success(dump(translated(tree)))


def _parsed(form: Form, settings: QuerySettings) -> Node:
    try:
        return parse(form.text("query"), features_of(settings))
    except PromqlError as error:
        raise BadParameter(f'invalid parameter "query": {error}') from None


def features_of(settings: QuerySettings) -> Features:
    """What the settings switch on."""
    return Features(**{FEATURES[name]: True for name in settings.features})


async def _evaluated(
    question: Question, form: Form, start_ms: int, end_ms: int | None, step_ms: int
) -> Answer:
    """Parse, fetch what every selector needs, from one moment of the data, and evaluate: in a
    thread, so that the worker hears when the query is not wanted any more."""
    settings = question.settings.query
    lookback_ms = round(form.duration_seconds("lookback_delta", 0) * 1000)
    if lookback_ms <= 0:
        lookback_ms = round(settings.lookback_seconds * 1000)
    form.limit()
    options = Options(lookback_ms, DEFAULT_STEP_MS, settings.max_samples, features_of(settings))
    with question.stage("parse"):
        try:
            query = Query(form.text("query"), start_ms, end_ms, step_ms, options)
        except PromqlError as error:
            raise BadParameter(f'invalid parameter "query": {error}') from None
    samples = []
    if query.selections:
        async with question.reading() as connection:
            for selection in query.selections:
                with_starts = options.features.start_timestamps
                samples.append(await question.select(connection, selection, with_starts))
    with question.stage("evaluate"):
        work = asyncio.ensure_future(asyncio.to_thread(query.evaluate, samples, question.check))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # it ends at its next check, and only then is this one free
            raise


def _document(question: Question, answer: Answer, at_ms: int) -> bytes:
    form, warnings, samples = question.form, list(answer.warnings), answer.samples
    limit, stats = form.limit(), form.text("stats")
    if 0 < limit < len(samples.labels):
        samples = samples.take(range(limit))
        warnings.append(TRUNCATED)
    match answer.type:
        case "matrix":
            data = matrix(samples)
        case "vector":
            data = vector(samples)
        case "scalar":
            data = scalar(at_ms, answer.scalar)
        case "string":
            data = string(at_ms, answer.string)
    if stats:
        if stats not in ("true", "all"):
            warnings.append(STATS_DEPRECATED.format(json.dumps(stats)))
        data = data[:-1] + b',"stats":' + dump(_stats(question, answer)) + b"}"
    return success(data, warnings, answer.infos)


def _stats(question: Question, answer: Answer) -> dict[str, dict[str, float]]:
    """What Prometheus tells of a query, as far as it is known here: nothing by step, and no queue,
    which a query has left before its process hears of it."""
    seconds = question.stages
    preparing = sum(seconds.get(stage, 0.0) for stage in ("parse", "select", "fetch"))
    evaluating = seconds.get("evaluate", 0.0)
    return {
        "timings": {
            "evalTotalTime": preparing + evaluating,
            "resultSortTime": 0,
            "queryPreparationTime": preparing,
            "innerEvalTime": evaluating,
            "execQueueTime": 0,
            "execTotalTime": preparing + evaluating,
        },
        "samples": {
            "totalQueryableSamples": answer.effort.looked_at,
            "samplesRead": question.budget.most_samples - question.budget.left,
            "seriesTouched": question.series,
            "peakSamples": answer.effort.peak,
        },
    }
