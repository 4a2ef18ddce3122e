"""What was measured, in tables: figures that a reader could check by hand."""

from __future__ import annotations

from bench.report import compared, flipped, grown, large, plain


def run(rate: float, cpu: float = 2.0) -> dict[str, object]:
    load = {"requests": 1000, "rate": rate, "p50": 4.0, "p99": 9.0, "bad": 1}
    return {"load": load, "everywhere": rate / 2, "cpu": cpu, "resident": 700.0, "moved": 1000 * (1 << 20)}


def test_a_comparison_has_the_median_and_what_it_costs() -> None:
    runs = [run(100), run(300, cpu=4.0), run(200, cpu=3.0)]
    document = {"rounds": 3, "machine": {"cores": 2}, "work": {"PUT 1M": {"boveda": runs}}}
    table = compared(document)
    (row,) = table.rows
    found = dict(zip(table.header, row, strict=True))
    assert found["a second: median (least–most)"] == "200.0 (100.0–300.0)"
    assert found["MB/s"] == "209.7"
    assert found["all copies, a second"] == "100.0"
    assert found["bad"] == "3"
    assert found["CPU s per 1000"] == "3.00"
    assert found["CPU s per GiB"] == "3.1"


def test_a_run_in_which_nothing_ended_in_time_has_no_figures() -> None:
    load = {"requests": 0, "rate": 0.0, "p50": float("nan"), "p99": float("nan"), "bad": 0}
    runs = [{"load": load, "everywhere": 0.0, "cpu": 1.0, "resident": 700.0, "moved": 0}]
    table = compared({"rounds": 1, "machine": {}, "work": {"GET 64k of 64M": {"prototype": runs}}})
    found = dict(zip(table.header, table.rows[0], strict=True))
    assert [found[name] for name in ("MB/s", "p50 ms", "CPU s per 1000", "CPU s per GiB")] == ["–"] * 4
    assert found["a second: median (least–most)"] == "0.0 (0.0–0.0)"


def test_wrong_bytes_have_a_column_of_their_own() -> None:
    outcome = {"right": 5, "wrong": 2, "failed": 1, "clean": [1.0], "first": [9.0], "later": [1.0, 2.0, 3.0]}
    table = flipped({"1 MiB": {"boveda": outcome}})
    assert table.rows[0][2:6] == ("8", "5", "2", "1")
    assert table.rows[0][-1] == "2.0 (1.0–3.0)"


def test_growth_is_the_ratio_of_medians() -> None:
    values = {"PUT, /s": {"2000": [100.0, 90.0, 110.0], "1000000": [80.0, 100.0, 60.0]}}
    table = grown({"rows": [2000, 1000000], "values": values, "listed": 100000, "seconds_to_list": 7.0})
    assert table.rows[0][-1] == "0.80"
    assert "100,000 keys are listed in 7.0 s" in table.title


def step(put: float, api: float) -> dict[str, object]:
    peaks = {"resident": {"api": api, "worker": 90.0, "client": 20.0}, "grown": 1.5, "grown_file": "catalogue.db-wal"}
    return {"put": put, "copies": 3.0, "get": 1.0, "put_peaks": peaks, "get_peaks": {**peaks, "grown": 2.5}}


def test_large_objects_have_the_median_of_rates_and_the_highest_of_peaks() -> None:
    steps = {"PUT | GET": {"8": [step(4.0, 110.0), step(8.0, 140.0), step(5.0, 120.0)]}}
    table = large({"bytes": 1 << 30, "rounds": 3, "steps": steps})
    found = dict(zip(table.header, table.rows[0], strict=True))
    assert found["in, MB/s"] == "215 (134–268)"
    assert found["api, peak"] == "140"
    assert found["most a file grew"] == "2.5"
    assert table.title.startswith("1 GiB, 3 rounds")


def test_markdown_has_a_row_for_each_and_numbers_at_the_right() -> None:
    text = plain("Lag", [{"uploads": 600, "p99": 123.456}]).markdown()
    assert text.splitlines() == ["Lag", "", "| uploads | p99 |", "| ---: | ---: |", "| 600 | 123.46 |"]
