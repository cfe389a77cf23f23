"""What a person sees while a sweep runs."""

import io
import json

import pytest

from orchestrator.live import JsonLines, LiveTable, PlainLines, duration, headline
from orchestrator.progress import SweepProgress
from storage.records import Failure, FailureClass, Result, Status
from storage.store import JobState
from workers.pools.protocol import Done, Lost
from workers.testing import probe_job


def states(done, left):
    found = []
    for seed in range(done + left):
        job = probe_job("ok", seed)
        result = Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 60.0 + seed, "wall_s": 10.0})
        finished = seed < done
        found.append(
            JobState(job, Status.DONE if finished else Status.PENDING, 1, "lora", result if finished else None)
        )
    return found


def done_event(seed):
    job = probe_job("ok", seed)
    return Done(job.job_id, 1, Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 71.5}))


def test_progress_counts_what_the_store_says():
    progress = SweepProgress.of("s", states(2, 3))
    assert (progress.total, progress.done, progress.failed, progress.already_done) == (5, 2, 0, 2)
    assert progress.rows["lora"].best == 61.0


def test_the_time_to_go_is_the_median_of_like_jobs_and_halves_with_two_slots():
    progress = SweepProgress.of("s", states(2, 3))
    assert progress.eta_s(1)[0] == pytest.approx(30.0)
    assert progress.eta_s(2)[0] == pytest.approx(15.0)


def test_there_is_no_time_to_go_before_anything_is_known():
    assert SweepProgress.of("s", states(0, 3)).eta_s(1) is None


def test_the_headline_says_what_is_known_running_and_left():
    progress = SweepProgress.of("s", states(2, 3))
    progress.running[probe_job("ok", 2).job_id] = "train 1/8"
    assert headline(progress, 1).startswith("s  2/5 done, 2 known before, 1 running, about 30 s")


def test_plain_lines_print_a_failure_at_once_and_nothing_else():
    stream = io.StringIO()
    display = PlainLines(stream, slots=1)
    progress = SweepProgress.of("s", states(0, 2))
    display(progress, done_event(0))
    assert stream.getvalue() == ""
    job = probe_job("ok", 1)
    display(progress, Lost(job.job_id, 1, Failure(FailureClass.CRASH, "the process is gone")))
    assert "crash: the process is gone" in stream.getvalue()


def test_json_lines_are_one_object_per_finished_job():
    stream = io.StringIO()
    display = JsonLines(stream)
    progress = SweepProgress.of("s", states(0, 2))
    display(progress, None)
    display(progress, done_event(0))
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["metrics"] == {"test_top1_pct": 71.5}


def test_the_live_table_shows_rows_and_leaves_the_terminal_clean():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    display = LiveTable(stream, slots=1)
    display(SweepProgress.of("s", states(2, 3)), None)
    display.close()
    assert "lora" in stream.getvalue()
    assert "2/5" in stream.getvalue()


def test_durations_read_naturally():
    assert [duration(s) for s in (0, 59.6, 61, 3599, 3600, 90_000)] == [
        "0 s", "1 min 00 s", "1 min 01 s", "59 min 59 s", "1 h 00 min", "25 h 00 min",
    ]  # fmt: skip
