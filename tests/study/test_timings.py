"""What notebooks took: Snakemake's seconds, and the memory of the kernel wherever it ran."""

import pandas as pd

from mathtransfer.study.timings import read_timings


def measured(study, part, seconds, max_rss, memory=None):
    for folder in ("timings", "logs"):
        (study / folder).mkdir(exist_ok=True)
    (study / "timings" / f"{part}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{max_rss}\n")
    if memory is not None:
        (study / "logs" / f"{part}.log.memory").write_text(memory)


def test_memory_is_the_kernels_also_if_a_server_runs_it(tmp_path):
    measured(tmp_path, "price", 2.34, 410.2)  # Snakemake saw papermill and, below it, the kernel
    measured(
        tmp_path, "train--RL--0", 61.0, 13.9, "papermill\t430\nipykernel_launcher\t612\n"
    )  # it saw the caller alone
    expected = pd.DataFrame(
        [("price", 2.3, 410), ("train--RL--0", 61.0, 612)], columns=["part", "seconds", "memory_mb"]
    )
    pd.testing.assert_frame_equal(read_timings(tmp_path), expected, check_dtype=False)


def test_where_nothing_is_measured_the_table_that_a_build_left_is_read(tmp_path):
    expected = pd.DataFrame([("price", 2.3, 410)], columns=["part", "seconds", "memory_mb"])
    expected.to_csv(tmp_path / "timings.csv", index=False)
    pd.testing.assert_frame_equal(read_timings(tmp_path), expected)
    assert read_timings(tmp_path / "nowhere").empty
