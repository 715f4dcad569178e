"""The report: complete, self-contained, safe with any name, and the same from a result as from its JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobiledistill import CompressionResult, InputError, LimitCheck, Measurement, MissingExtraError, Plan
from mobiledistill.report import report_from_file, write_report
from tests.report import _runs
from tests.report._html import Document, read

Run = Callable[[], CompressionResult]
RUNS = [_runs.digits, _runs.one_format, _runs.unmeasured, _runs.unreachable, _runs.family]
NAMES = {"tflite": "TFLite", "coreml": "Core ML", "onnx": "ONNX"}
NASTY = """<script>alert("1")</script>&amp;'</svg>"""


def page_of(result: CompressionResult, folder: Path) -> Document:
    return read(write_report(result, folder / "report.html").read_text(encoding="utf-8"))


def page_of_data(data: dict[str, Any], folder: Path) -> Document:
    source = folder / "result.json"
    source.write_text(json.dumps(data), encoding="utf-8")
    return read(report_from_file(source, folder / "report.html").read_text(encoding="utf-8"))


def thin(text: str) -> str:
    """Spaces of any width as plain ones."""
    return re.sub(r"\s", " ", text)


# ------------------------------------------------------------------------------------------- every kind of run


@pytest.mark.parametrize("run", RUNS)
def test_a_result_and_its_json_make_the_same_page(run: Run, tmp_path: Path) -> None:
    result = run()
    source = tmp_path / "result.json"
    source.write_text(json.dumps(result.to_dict()))
    path = tmp_path / "a.html"
    assert write_report(result, path) == path
    assert report_from_file(source, tmp_path / "b.html").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("run", RUNS)
def test_the_page_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    path = write_report(run(), tmp_path / "report.html")
    text = path.read_text()
    for outside in ("http:", "https:", "src=", "@import", "url(", "<script", "<link", "javascript:", "file:"):
        assert outside not in text.lower()
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("run", RUNS)
def test_the_page_is_well_formed_and_can_be_read_aloud(run: Run, tmp_path: Path) -> None:
    page = page_of(run(), tmp_path)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    named = {name for names in page.attributes("aria-labelledby") for name in names.split()}
    assert named == set(ids)
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(attributes.get("role") == "img" or attributes.get("aria-hidden") for attributes in pictures)
    assert len(page.cells["title"]) == 1 + sum(attributes.get("role") == "img" for attributes in pictures)
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert len(page.cells["caption"]) == tables


@pytest.mark.parametrize("run", RUNS)
def test_no_shape_has_a_place_that_is_no_number(run: Run, tmp_path: Path) -> None:
    page = page_of(run(), tmp_path)
    places = [
        page.attributes(name) for name in ("x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "points")
    ]
    numbers = [number.rstrip("%") for values in places for value in values for number in re.split("[ ,]", value)]
    assert numbers
    assert all(math.isfinite(float(number)) for number in numbers)


@pytest.mark.parametrize("run", RUNS)
def test_every_limit_and_every_file_is_there(run: Run, tmp_path: Path) -> None:
    result = run()
    page = page_of(result, tmp_path)
    rows = [row for row in page.cells["tr"] if row.endswith(("met", "missed", "unmeasured", "ms"))]
    titles = {"size_bytes": "File size", "latency_ms": "Latency", "peak_memory_bytes": "Peak memory"}
    for check in result.limits:
        start = f"{titles.get(check.name, 'Loss of accuracy')}{NAMES.get(check.format or '', 'worst file')}"
        assert any(row.startswith(start) and check.status in row for row in rows), start
    for file in result.artifacts.values():
        assert str(file.path) in page.text
        assert f"{file.size_bytes:,} bytes".replace(",", " ") in thin(page.text)


# ------------------------------------------------------------------------------------------------ what it says


def test_the_headline_of_a_met_budget(tmp_path: Path) -> None:
    page = page_of(_runs.digits(), tmp_path)
    assert [thin(title) for title in page.cells["h1"]] == [
        "Accuracy 99.3 % (teacher 100.0 %) in at most 59.9 kB, 0.0718 ms"
    ]
    assert page.cells["strong"][0] == "Budget met"
    assert "Core ML latency cannot be measured on" in page.text
    assert "Synthetic speech: no recordings were found." in page.text


def test_one_file_is_named_without_at_most(tmp_path: Path) -> None:
    page = page_of(_runs.one_format(), tmp_path)
    assert thin(page.cells["h1"][0]).endswith("(teacher 100.0 %) in 19.6 kB, 0.0355 ms")
    assert "Nothing was trained." in page.text
    assert "The search" not in page.cells["h2"]


def test_a_missed_budget_says_which_limit_and_why(tmp_path: Path) -> None:
    page = page_of(_runs.unreachable(), tmp_path)
    assert page.cells["strong"][0] == "Budget missed"
    assert "TFLite file size is 4.21 kB, the limit 1 kB." in thin(page.text)
    assert "TFLite latency is 0.0355 ms, the limit 0.0356 ms; interval up to 0.0359 ms." in thin(page.text)
    assert sum(attributes.get("class") == "bar-missed" for _, attributes in page.tags) == 2
    assert "421.2 %" in thin(page.text)


def test_what_was_not_measured_is_neither_met_nor_missed(tmp_path: Path) -> None:
    page = page_of(_runs.unmeasured(), tmp_path)
    assert page.cells["strong"][0] == "Budget not proven"
    assert not [attributes for _, attributes in page.tags if attributes.get("class") in ("bar-met", "bar-missed")]
    assert sum(attributes.get("class") == "frame" for _, attributes in page.tags) == 2
    assert "Latency" not in page.cells["h2"]
    assert "Conditions of the measurements" not in page.cells["h2"]


def test_a_family_has_no_before(tmp_path: Path) -> None:
    page = page_of(_runs.family(), tmp_path)
    assert "loss 0.431 after a short training" in page.text
    assert "width 14, depth 2" in page.text
    assert "Before" not in page.cells["th"]
    assert not [attributes for _, attributes in page.tags if attributes.get("class") == "bar-before"]
    assert not page.cells.get("details")


def test_a_removed_layer_is_called_so_and_has_no_bar(tmp_path: Path) -> None:
    page = page_of(_runs.digits(), tmp_path)
    assert any(row.startswith("stage3.conv2") and "removed" in row for row in page.cells["tr"])
    after = [attributes["width"] for _, attributes in page.tags if attributes.get("class") == "bar-plain"]
    assert after[len(_runs.LAYERS) - 2] == "0%"


def test_bars_are_as_long_as_their_shares(tmp_path: Path) -> None:
    """The limit stands at 80 % of the strip, so 97.35 % of the limit end at 77.88 %; what is far over ends at 100 %."""
    page = page_of(_runs.digits(), tmp_path)
    bars = [attributes["x2"] for _, attributes in page.tags if attributes.get("class") == "bar-met"]
    assert bars[0] == f"{80 * 58_412 / 60_000:.2f}%"
    missed = page_of(_runs.unreachable(), tmp_path)
    far_over = next(attributes["x2"] for _, attributes in missed.tags if attributes.get("class") == "bar-missed")
    assert far_over == "100.00%"


def test_sensitivity_shows_each_cut_and_whose_hurts_most(tmp_path: Path) -> None:
    page = page_of(_runs.digits(), tmp_path)
    assert "Sensitivity" in page.cells["h2"]
    rows = [row for row in page.cells["tr"] if "+" in row]
    assert any(row.startswith("stem") and "8: +2.02" in row and "24: +0.11" in row for row in rows)
    assert any(row.startswith("stage3.block") and "left out: +1.73" in row for row in rows)
    widths = [attributes["width"] for _, attributes in page.tags if attributes.get("class") == "bar-plain"]
    rises = [points[-1] for points in (list(points.values()) for points in _runs.RISES.values())]
    start = len(_runs.LAYERS)
    drawn = [float(width.rstrip("%")) for width in widths[start : start + len(rises)]]
    assert drawn == pytest.approx([100 * rise / max(rises) for rise in rises], abs=0.01)
    page = page_of(replace(_runs.digits(), sensitivity=None), tmp_path)
    assert "Sensitivity" not in page.cells["h2"]


def test_phases_are_bands_and_the_teacher_a_line(tmp_path: Path) -> None:
    data = _runs.digits().to_dict()
    data["teacher"]["validation_score"] = {"value": 99.63, "n": 270, "ci95": [98.0, 99.9]}
    page = page_of_data(data, tmp_path)
    bands = [attributes for _, attributes in page.tags if attributes.get("class", "").startswith("band-")]
    assert len(bands) == 4 * 2 * 2  # phases, two figures, each for two widths
    assert sum(attributes.get("class") == "dashed" for _, attributes in page.tags) == 2
    for phase in ("cut 1/3", "cut 2/3", "distill", "quantize"):
        assert page.cells["text"].count(phase) == 2


def test_the_search_shows_each_round_and_the_chosen_one(tmp_path: Path) -> None:
    page = page_of(_runs.digits(), tmp_path)
    rows = [thin(row) for row in page.cells["tr"] if " of 368 channels" in row]
    assert [row.split(" of")[0] for row in rows] == ["1368", "2116", "3113"]
    assert ["chosen" in row for row in rows] == [False, False, True]
    assert [f"{share} %" in row for row, share in zip(rows, ("440.4", "112.7", "99.7"), strict=True)] == [True] * 3


# ------------------------------------------------------------------------------------- samples and conditions


def with_samples(data: dict[str, Any], measurement: Measurement) -> dict[str, Any]:
    """The data with everything a measurement knows."""
    known = measurement.model_dump(mode="json", include={"device", "runtime", "backend", "threads", "telemetry_before"})
    data["artifacts"]["tflite"]["latency_ms"] |= known | {"samples": [list(one) for one in measurement.samples_ms]}
    return data


def test_samples_become_a_histogram_and_conditions_a_table(tmp_path: Path) -> None:
    result = _runs.one_format()
    latency = result.artifacts["tflite"].latency
    assert latency is not None
    page = page_of_data(with_samples(result.to_dict(), latency), tmp_path)
    shapes = [tag for tag, attributes in page.tags if attributes.get("class") == "histogram-student"]
    assert shapes == ["polygon", "polygon"]
    for known in ("Intel Xeon Platinum 8481C, 2 cores", "LiteRT 2.3.1", "1 000 in 5 processes", "0.42"):
        assert known in thin(page.text)


def test_without_samples_the_interval_is_drawn(tmp_path: Path) -> None:
    data = _runs.one_format().to_dict()
    latency = data["artifacts"]["tflite"]["latency_ms"]
    data["artifacts"]["tflite"]["latency_ms"] = {key: latency[key] for key in ("p50", "p90", "ci95", "runs")}
    page = page_of_data(data, tmp_path)
    shapes = [tag for tag, attributes in page.tags if attributes.get("class") == "histogram-student"]
    assert shapes == ["rect", "rect"]


def test_a_limit_on_several_signatures_is_not_drawn_beside_the_samples_of_one(tmp_path: Path) -> None:
    """The limit holds for the sum: 12 calls of 0.036 ms each."""
    data = _runs.digits().to_dict()
    for check in data["limits"]:
        if check["name"] == "latency_ms" and check["measured"] is not None:
            check["measured"] *= 12
    page = page_of_data(data, tmp_path)
    assert not [text for text in page.cells["text"] if text.startswith("limit")]
    assert "0.426 ms" in thin(page.text)


def test_why_a_measurement_cannot_be_trusted(tmp_path: Path) -> None:
    data = _runs.one_format().to_dict()
    data["artifacts"]["tflite"]["verdict"] = "invalid"
    data["artifacts"]["tflite"]["latency_ms"]["reasons"] = ["the reference drifted by 23 %"]
    assert "TFLite file is invalid: the reference drifted by 23 %." in page_of_data(data, tmp_path).text


# -------------------------------------------------------------------------------------------- hostile and odd


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    result = _runs.digits()
    tflite = replace(result.artifacts["tflite"], path=Path(NASTY))
    result = replace(
        result,
        artifacts={"tflite": tflite},
        metric=replace(result.metric, name=NASTY, unit=NASTY),
        plan=Plan(channels={NASTY: 1}, original_channels={NASTY: 2}),
        layers=[(NASTY, 4, 2)],
        history=[(NASTY, 1, 0.5, 90.0)],
        seconds={NASTY: 1.0},
        rounds=[{"plan": {NASTY: 1}, "trained": False, "measured": {f"{NASTY}/{NASTY}": 1.0}}],
        notes=(NASTY,),
    )
    data = result.to_dict()
    data |= {"task": NASTY, "budget": NASTY, "ending": NASTY}
    data["artifacts"][NASTY] = data["artifacts"]["tflite"] | {"verdict": NASTY}
    data["artifacts"]["tflite"]["latency_ms"] |= {"device": {"name": NASTY, "os": NASTY, "cpu": NASTY}}
    page = page_of_data(data, tmp_path)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [tag for tag, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert page.text.count(NASTY) > 20
    assert NASTY in page.cells["li"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    result = _runs.one_format()
    path = Path(b"caf\xe9.tflite".decode("utf-8", "surrogateescape"))
    result = replace(result, artifacts={"tflite": replace(result.artifacts["tflite"], path=path)}, notes=("a\x00b",))
    assert "caf" in page_of(result, tmp_path).text


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0])
def test_losses_that_cannot_be_drawn(loss: float, tmp_path: Path) -> None:
    history = [("distill", 1, loss, None), ("distill", 2, loss, None)]
    page = page_of(replace(_runs.one_format(), history=history), tmp_path)
    assert "no epoch has a value" in page.text


def test_an_old_result_without_the_newer_keys(tmp_path: Path) -> None:
    data = _runs.digits().to_dict()
    for key in ("task", "budget", "notes", "binding", "sensitivity"):
        data.pop(key, None)
    data["teacher"].pop("validation_score", None)
    data["plan"].pop("dropped", None)
    assert page_of_data(data, tmp_path).cells["strong"][0] == "Budget met"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"artifacts": 3, "limits": []}', "\x00", "[" * 100_000])
def test_what_is_no_result_is_refused_and_nothing_is_written(text: str, tmp_path: Path) -> None:
    source = tmp_path / "result.json"
    source.write_text(text)
    with pytest.raises(InputError, match="is not the result of a run") as caught:
        report_from_file(source, tmp_path / "report.html")
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_result_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        report_from_file(tmp_path / "result.json", tmp_path / "report.html")


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.html cannot be written"):
        write_report(_runs.one_format(), tmp_path / "missing" / "report.html")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html cannot be written"):
        write_report(_runs.one_format(), tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(_runs.one_format(), path)
    assert path.read_text().rstrip().endswith("</html>")


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"mobiledistill\[report\]"):
        write_report(_runs.one_format(), tmp_path / "report.html")


# ------------------------------------------------------------------------------------------------- pictures


def test_pictures_are_inside_the_page_and_survive_a_moved_run(tmp_path: Path) -> None:
    png = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(png)
    (tmp_path / "pictures" / "1.png").write_bytes(b"no picture")
    elsewhere = Path("runs/that/has/moved/pictures")
    result = replace(_runs.digits(), pictures=[(NASTY, elsewhere / "0.png"), ("two", elsewhere / "1.png")])
    page = page_of_data(result.to_dict(), tmp_path)
    shown = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [one["src"] for one in shown] == [f"data:image/png;base64,{b64encode(png).decode()}"]
    assert shown[0]["alt"] == NASTY
    assert NASTY in page.text


def test_a_share_of_the_teachers_latency_reads_as_one(tmp_path: Path) -> None:
    limits = [LimitCheck("tflite", "latency_share", 0.4, 0.381, "met")]
    text = thin(page_of(replace(_runs.digits(), limits=limits), tmp_path).text)
    assert "TFLite share of the teacher's latency is the tightest limit" in text
    assert "38.1 %" in text
    limits = [LimitCheck("tflite", "latency_share", 0.4, 0.40004, "missed")]
    text = thin(page_of(replace(_runs.digits(), limits=limits), tmp_path).text)
    assert "latency is 40.004 %, the limit 40 %" in text  # as many digits as it takes
