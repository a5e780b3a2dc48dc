"""metrics.csv, continued and cut short."""

import pytest

from tracer_lightning.engine.csv_logger import ContinuedCSVLogger, _rows


def logger(path):
    return ContinuedCSVLogger(path, name="", version="")


def log(path, steps, continued=None, **extra):
    csv_logger = logger(path)
    if continued is not None:
        csv_logger.continue_from(continued)
    for step in steps:
        csv_logger.log_metrics({"loss": float(step), **extra}, step)
        csv_logger.save()
    return csv_logger


def steps(path):
    return [int(row["step"]) for row in _rows(path / "metrics.csv")]


def test_rows_are_continued_from_the_checkpoint(tmp_path):
    log(tmp_path, range(5))
    log(tmp_path, [3, 4, 5], continued=3)
    assert steps(tmp_path) == [0, 1, 2, 3, 4, 5]


def test_a_new_run_begins_anew(tmp_path):
    log(tmp_path, range(5))
    log(tmp_path, [0, 1])
    assert steps(tmp_path) == [0, 1]


def test_nothing_is_lost_before_the_first_row_of_a_continuation(tmp_path):
    log(tmp_path, range(5))
    csv_logger = logger(tmp_path)
    csv_logger.continue_from(3)
    assert steps(tmp_path) == [0, 1, 2, 3, 4]  # killed now, it can be continued again
    csv_logger.finalize("success")
    assert steps(tmp_path) == [0, 1, 2, 3, 4]


def test_tests_are_not_kept(tmp_path):
    log(tmp_path, [0], **{"test/plain/accuracy": 0.5})
    log(tmp_path, [1], continued=5)
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("breaks", [(1,), (3,), (4,), (6,), (2, 2, 5), (5, 3)])
def test_a_continued_file_is_byte_for_byte_that_of_an_unbroken_run(tmp_path, breaks):
    """With a test before and after training, validations, and columns that come later."""

    def run(folder, begin, end, final):
        csv = logger(folder)
        if begin:
            csv.continue_from(begin)
        csv.log_metrics({"test/plain/accuracy": 0.1, "epoch": 0}, 0)
        csv.finalize("success")
        for step in range(begin, end):
            csv.log_metrics({"lr": 0.1 / (step + 1)}, step)
            csv.log_metrics({"loss": float("nan") if step == 2 else 1 / 3 / (step + 1)}, step)
            if step % 2:
                csv.log_metrics({"val/plain/accuracy": step / 7, "epoch": step // 2}, step)
            if step >= 4:
                csv.log_metrics({'a late, odd "column\u2028': step}, step)
            csv.flush()
        if final:
            csv.log_metrics({"test/plain/accuracy": 0.7, "epoch": 3}, end)
            csv.finalize("success")

    run(tmp_path / "whole", 0, 6, final=True)
    begin = 0
    for end in breaks:
        run(tmp_path / "broken", begin, min(end + 1, 6), final=end == 6)
        begin = end
    run(tmp_path / "broken", begin, 6, final=True)
    whole, broken = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "broken"))
    assert broken == whole


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_row_that_was_cut_short_is_no_row(tmp_path, cut):
    log(tmp_path, range(3))
    file = tmp_path / "metrics.csv"
    content = file.read_bytes()
    file.write_bytes(content[:-cut])
    log(tmp_path, [2], continued=2)
    assert steps(tmp_path) == [0, 1, 2]


def test_new_columns_do_not_touch_old_rows(tmp_path):
    csv_logger = log(tmp_path, range(2))
    csv_logger.log_metrics({"accuracy": 0.25}, 2)
    csv_logger.save()
    rows = _rows(tmp_path / "metrics.csv")
    assert [row.get("loss") for row in rows] == ["0.0", "1.0", None]
    assert rows[2]["accuracy"] == "0.25"
