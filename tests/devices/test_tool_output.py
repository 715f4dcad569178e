"""What benchmark tools print, release by release; and torn text, which ends in one line or in what can be read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import DeviceError
from mobiledistill.devices._tool_output import (
    ToolTimes,
    benchmark_model,
    litert_benchmark_model,
    onnxruntime_perf_test,
)

OLDEST = """STARTING!
count=50 first=79545 curr=79980 min=79001 max=81222 avg=79760.9 std=402
Average inference timings in us: Warmup: 83235, Init: 38467, Inference: 79760.9
"""
WITH_MEMORY = """Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory.
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
"""
WITH_MEDIAN = "\n".join(
    f"I tflite  : {line}"
    for line in (
        "Explicitly applied XNNPACK delegate, and the model graph will be partially executed by the delegate"
        " w/ 3 delegate kernels.",
        "count=2 first=211700 curr=211638 min=211638 max=211700 avg=211669 std=31 p5=211638 median=211700 p95=211700",
        "count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583"
        " p5=140545 median=141253 p95=187533",
        "Inference timings in us: Init: 92318, First inference: 187533, Warmup (avg): 211669, Inference (avg): 145528",
        "Memory footprint delta from the start of the tool (MB): init=54.2852 overall=73.4102",
    )
)
LITERT = """========== BENCHMARK RESULTS ==========
Model initialization: 45.32 ms
First inference:      120.45 ms
Warmup (avg):         98.76 ms (1 runs)
Inference (avg):      85.23 ms (50 runs)
Throughput:           12.45 MB/s
Init footprint: 25.60 MB   Overall footprint: 32.40 MB   Peak memory: 35.20 MB
"""
LITERT_MIRROR = """========================================
 BENCHMARK RESULTS
========================================
Model initialization:  8.20 ms
Warmup (first):        0.17 ms
Warmup (avg):          0.10 ms (2 runs)
Inference (avg):       0.03 ms (20 runs)
Inference (min):       0.02 ms
Inference (max):       0.05 ms
Inference (median):    0.03 ms
Inference (std):       0.01 ms
Inference (p5):        0.02 ms
Inference (p95):       0.04 ms
Throughput:            1966.88 MB/s
Fully accelerated:     True
========================================
"""
PERF_OLD = """Session creation time cost:0.0102 s
Total inference time cost:0.185739 s
Total inference requests:100
Average inference time cost:1.85739 ms
Total inference run time:0.18581 s
"""
PERF_MIDDLE = """using XnnpackExecutionProvider
Session creation time cost: 2.74716 s
First inference time cost: 85 ms
Total inference time cost: 6.22935 s
Total inference requests: 100
Average inference time cost: 62.2935 ms
Total inference run time: 6.23146 s
Number of inferences per second: 16.0476
Total CPU usage: 382 %
Peak working set size: 114634752 bytes
Min Latency: 0.0529422 s
Max Latency: 0.0912857 s
P50 Latency: 0.0603562 s
P90 Latency: 0.0741593 s
P95 Latency: 0.0837052 s
"""
PERF_NEW = PERF_MIDDLE.replace("time cost: 62.2935 ms", "time cost total: 62.293500 ms")

CASES: list[tuple[Callable[[str], ToolTimes], str, dict[str, object]]] = [
    (benchmark_model, OLDEST, {"runs": 50, "mean_ms": 79.7609, "init_ms": 38.467, "first_ms": None}),
    (
        benchmark_model,
        WITH_MEMORY,
        {"runs": 50, "mean_ms": 2950.34, "first_ms": 3512.391, "std_ms": 109.798, "memory_bytes": 48324568},
    ),
    (
        benchmark_model,
        WITH_MEDIAN,
        {"runs": 25, "mean_ms": 145.528, "median_ms": 141.253, "backend": "XNNPACK, 3 partitions"},
    ),
    (litert_benchmark_model, LITERT, {"runs": 50, "mean_ms": 85.23, "first_ms": 120.45, "memory_bytes": 36909875}),
    (
        litert_benchmark_model,
        LITERT_MIRROR,
        {"runs": 20, "median_ms": 0.03, "min_ms": 0.02, "max_ms": 0.05, "backend": "the whole graph"},
    ),
    (onnxruntime_perf_test, PERF_OLD, {"runs": 100, "mean_ms": 1.85739, "init_ms": 10.2, "median_ms": None}),
    (
        onnxruntime_perf_test,
        PERF_MIDDLE,
        {"mean_ms": 62.2935, "median_ms": 60.3562, "first_ms": 85, "backend": "XnnpackExecutionProvider"},
    ),
    (onnxruntime_perf_test, PERF_NEW, {"mean_ms": 62.2935, "memory_bytes": 114634752}),
]


@pytest.mark.parametrize(("parse", "text", "expected"), CASES)
def test_each_release_is_read(parse: Callable[[str], ToolTimes], text: str, expected: dict[str, object]) -> None:
    found = parse(text).model_dump()
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_a_delegate_that_runs_nothing_is_told() -> None:
    text = (
        "Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate.\n" + OLDEST
    )
    assert benchmark_model(text).backend == "cpu: NNAPI was applied and runs nothing"


@pytest.mark.parametrize("parse", [benchmark_model, litert_benchmark_model, onnxruntime_perf_test])
def test_no_result_is_one_line_with_its_last_words(parse: Callable[[str], ToolTimes]) -> None:
    with pytest.raises(DeviceError, match="came to no result; its last words: Aborted") as raised:
        parse("STARTING!\nERROR: no such file\nAborted \n")
    assert "\n" not in str(raised.value)


@settings(max_examples=4000, deadline=None)
@given(st.sampled_from(CASES), st.data())
def test_torn_text_never_breaks_a_reader(
    case: tuple[Callable[[str], ToolTimes], str, object], data: st.DataObject
) -> None:
    parse, text, _ = case
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.text("0123456789.e+-= \n\tcount", max_size=8)) + text[end:]
    with suppress(DeviceError):
        assert parse(text).runs >= 1
