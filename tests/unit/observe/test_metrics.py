"""Prometheus text."""

from __future__ import annotations

from collections import Counter

from perdure.observe.metrics import Family, Labels, Traffic, from_counters, render


def test_text() -> None:
    runs = Family("perdure_runs", "gauge", "Runs by state.\nAll of them.")
    runs.add(3, queue='a"b\\c\nd', state="queued")
    runs.add(0.5)
    assert render([runs, Family("perdure_none", "gauge", "Nothing.")]) == (
        "# HELP perdure_runs Runs by state.\\nAll of them.\n"
        "# TYPE perdure_runs gauge\n"
        'perdure_runs{queue="a\\"b\\\\c\\nd",state="queued"} 3\n'
        "perdure_runs 0.5\n"
    )
    assert render([]) == ""


def test_counters_of_the_process_are_grouped_by_name() -> None:
    counters: Counter[tuple[str, Labels]] = Counter()
    counters["b_total", ()] += 1
    counters["a_total", (("tool", "x"),)] += 2
    counters["a_total", (("tool", "y"),)] += 3
    families = from_counters(counters)
    assert [f.name for f in families] == ["a_total", "b_total"]
    assert [value for _, _, value in families[0].samples] == [2, 3]


def test_a_histogram_counts_upwards() -> None:
    traffic = Traffic()
    for seconds in (0.0005, 0.001, 0.3, 100.0):
        traffic.answered("GET", "/api/runs", 200, seconds)
    text = render(traffic.families())
    assert 'perdure_http_requests_total{method="GET",route="/api/runs",status="200"} 4' in text
    assert 'le="0.001"} 2' in text
    assert 'le="0.25"} 2' in text
    assert 'le="0.5"} 3' in text
    assert 'le="60"} 3' in text
    assert 'le="+Inf"} 4' in text
    assert 'perdure_http_request_duration_seconds_count{route="/api/runs"} 4' in text
    assert 'perdure_http_request_duration_seconds_sum{route="/api/runs"} 100.3015' in text
