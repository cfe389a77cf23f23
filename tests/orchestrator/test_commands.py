"""The commands as a person types them, on a real sweep small enough for a test: logistic regression on raw pixels."""

import json

import pytest

from orchestrator.cli import main

INLINE = ("--pool", "inline", "--mlflow", "off")
SPEC = """\
name: small
datasets: [embedded/digits]
backbones: [raw_pixels]
methods: [linear]
seeds: 2
train: {epochs: 2}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, home) where the small sweep has been run."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "small.yaml").write_text(SPEC)
    home = folder / "home"
    assert main(["run", *INLINE, str(folder / "small.yaml"), "--home", str(home), "--device", "cpu"]) == 0
    return folder, home


def test_the_same_command_again_runs_nothing(ran, capsys):
    folder, home = ran
    assert main(["run", *INLINE, str(folder / "small.yaml"), "--home", str(home)]) == 0
    captured = capsys.readouterr()
    assert "0 new jobs, 2 known" in captured.err
    assert "0 jobs run" in captured.err
    assert captured.out == ""


def test_run_leaves_out_a_method_that_is_still_to_come_and_says_so(ran, tmp_path, capsys):
    _, home = ran
    (tmp_path / "more.yaml").write_text(SPEC.replace("[linear]", "[linear, ssf]"))
    assert main(["run", *INLINE, str(tmp_path / "more.yaml"), "--home", str(home)]) == 0
    said = capsys.readouterr().err
    assert "0 new jobs, 2 known" in said
    assert "  left out: ssf: method ssf is not in this version\n" in said


def test_a_sweep_that_is_also_measured_looks_for_no_folder_of_the_noise(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SPEC.replace("seeds: 2", "seeds: 1") + "measure: true\n")
    arguments = [str(tmp_path / "small.yaml"), "--home", str(tmp_path / "home"), "--no-preflight", "--limit", "1"]
    assert main(["run", *INLINE, *arguments]) == 0
    assert "small: 1 jobs run" in capsys.readouterr().err


def test_the_first_line_names_the_home(ran, capsys):
    _, home = ran
    main(["status", "--home", str(home)])
    assert capsys.readouterr().err.splitlines()[0] == f"home: {home}"


def test_status_counts_and_names_the_overhead(ran, capsys):
    _, home = ran
    assert main(["status", "--home", str(home)]) == 0
    text = capsys.readouterr().out
    assert "small: 2/2 done" in text
    assert "outside training and evaluation" in text


def test_status_speaks_json(ran, capsys):
    _, home = ran
    main(["status", "small", "--json", "--home", str(home)])
    record = json.loads(capsys.readouterr().out)
    assert (record["version"], record["by_status"], record["failed"]) == (1, {"done": 2}, [])


def test_show_prints_what_decides_a_number_and_what_came_out(ran, capsys):
    _, home = ran
    main(["run", *INLINE, str(ran[0] / "small.yaml"), "--home", str(home)])
    main(["leaderboard", "small", "--format", "json", "--home", str(home)])
    capsys.readouterr()
    job_id = next((home / "deltas").iterdir()).stem
    assert main(["show", job_id[:6], "--home", str(home)]) == 0
    text = capsys.readouterr().out
    assert job_id in text
    assert "test_top1_pct" in text
    assert main(["show", job_id, "--json", "--home", str(home)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["result"]["metrics"]["test_top1_pct"] > 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["show", "zzzz"], "zzzz"),
        (["status", "smal"], "Did you mean 'small'"),
        (["leaderboard", "smal"], "small"),
        (["run", *INLINE, "no-such-file.yaml"], "no-such-file.yaml"),
        (["retry", "other"], "other"),
    ],
)
def test_what_does_not_exist_is_named_without_a_traceback(ran, capsys, words, what):
    _, home = ran
    assert main([*words, "--home", str(home)]) == 2
    captured = capsys.readouterr()
    assert what in captured.err
    assert "Traceback" not in captured.err


def test_only_and_limit_leave_the_sweep_whole(ran, tmp_path, capsys):
    folder, _ = ran
    home = tmp_path / "home"
    spec = str(folder / "small.yaml")
    assert main(["run", *INLINE, spec, "--only", "seed=1", "--home", str(home)]) == 0
    main(["status", "--json", "--home", str(home)])
    record = json.loads(capsys.readouterr().out)
    assert record["by_status"] == {"done": 1, "pending": 1}
    assert main(["run", *INLINE, spec, "--limit", "2", "--home", str(home)]) == 0
    main(["status", "--json", "--home", str(home)])
    assert json.loads(capsys.readouterr().out)["by_status"] == {"done": 2}


@pytest.mark.parametrize("only", ["seed=7", "colour=red", "seed"])
def test_an_only_that_selects_nothing_is_refused(ran, capsys, only):
    folder, home = ran
    assert main(["run", *INLINE, str(folder / "small.yaml"), "--only", only, "--home", str(home)]) == 2
    assert only in capsys.readouterr().err


def test_finished_jobs_come_as_json_lines(ran, tmp_path, capsys):
    folder, _ = ran
    home = tmp_path / "home"
    assert main(["run", *INLINE, str(folder / "small.yaml"), "--json", "--home", str(home)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["done", "done"]
    assert [line["done"] for line in lines] == [1, 2]


def test_a_failing_job_is_reported_and_can_be_tried_again(tmp_path, capsys):
    home = tmp_path / "home"
    spec = tmp_path / "diverges.yaml"
    spec.write_text(SPEC.replace("epochs: 2", "epochs: 2, lr: 1000, optimizer: sgd").replace("seeds: 2", "seeds: 1"))
    spec.write_text(
        spec.read_text().replace("backbones: [raw_pixels]", "backbones: [nano_vit]").replace("linear", "full")
    )
    assert main(["run", *INLINE, str(spec), "--home", str(home)]) == 3
    captured = capsys.readouterr()
    assert "diverged" in captured.err
    assert "Traceback" not in captured.err
    assert main(["run", *INLINE, str(spec), "--home", str(home)]) == 3
    assert "0 jobs run" in capsys.readouterr().err
    assert main(["retry", "small", "--class", "user_error", "--home", str(home)]) == 0
    assert "no such job" in capsys.readouterr().out
    assert main(["retry", "small", "--home", str(home)]) == 0
    assert "1 jobs of small are pending again" in capsys.readouterr().out


def test_what_a_method_refuses_is_told_before_the_first_job(tmp_path, capsys):
    spec = tmp_path / "refused.yaml"
    spec.write_text(SPEC.replace("raw_pixels", "nano_vit").replace("[linear]", "[{lora: {rank: 97}}]"))
    assert main(["run", *INLINE, str(spec), "--home", str(tmp_path / "home")]) == 2
    captured = capsys.readouterr()
    assert "preflight: 1 combinations cannot run; no job was started" in captured.err
    assert "lora.rank is 97, above the width 96 of nano_vit" in captured.err


def test_a_gpu_that_is_not_there_is_refused(ran, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    folder, _ = ran
    home = folder / "gpu"
    assert main(["run", *INLINE, str(folder / "small.yaml"), "--device", "cuda", "--home", str(home)]) == 2
    assert "no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["methods"], ["backbones"], ["data", "list"], ["doctor"]])
def test_lists_speak_text_and_json(ran, capsys, words):
    _, home = ran
    assert main([*words, "--home", str(home)]) == 0
    assert capsys.readouterr().out.strip()
    assert main([*words, "--json", "--home", str(home)]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


def test_ray_and_mlflow_are_the_default_and_leave_the_same_board(ran, tmp_path, capsys):
    folder, inline_home = ran
    home = tmp_path / "home"
    assert main(["run", str(folder / "small.yaml"), "--home", str(home)]) == 0
    assert "sweepboard ui" in capsys.readouterr().err
    assert (home / "mlflow.db").exists()
    boards = []
    for place in (home, inline_home):
        main(["leaderboard", "small", "--format", "csv", "--no-costs", "--home", str(place)])
        boards.append(capsys.readouterr().out)
    assert boards[0] == boards[1]


def test_what_no_slot_can_give_is_refused_with_the_nearest_that_fits(ran, tmp_path, capsys):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(SPEC + "resources: {cpus: 4096}\n")
    assert main(["run", str(spec), "--mlflow", "off", "--home", str(tmp_path / "home")]) == 2
    assert "4096" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "nearest"), [("cpus: 4096", "cpus: "), ("gpus: 512", "gpus: "), ("memory_gib: 65000", "memory_gib: ")]
)
def test_a_plan_is_printed_and_refused_where_this_machine_can_never_run_it(tmp_path, capsys, asked, nearest):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(f"{SPEC}resources: {{{asked}}}\n")
    assert main(["plan", str(spec), "--home", str(tmp_path / "home")]) == 2
    captured = capsys.readouterr()
    assert "can never run on this machine" in captured.err
    assert nearest in captured.err.partition("the nearest that fits is ")[2].partition("(node this machine)")[0]
    assert "small: 1 method" in captured.out


def test_a_plan_for_anywhere_asks_no_machine(tmp_path, capsys):
    spec = tmp_path / "greedy.yaml"
    spec.write_text(SPEC + "resources: {cpus: 4096}\n")
    assert main(["plan", str(spec), "--anywhere", "--home", str(tmp_path / "home")]) == 0
    assert capsys.readouterr().err == f"home: {tmp_path / 'home'}\n"


def test_a_plan_for_a_cluster_that_cannot_be_asked_is_printed_and_says_so(tmp_path, capsys):
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC)
    assert main(["plan", str(spec), "--address", "127.0.0.1:1", "--home", str(tmp_path / "home")]) == 2
    captured = capsys.readouterr()
    assert "Ray at 127.0.0.1:1 cannot be used" in captured.err
    assert "small: 1 method" in captured.out


def test_a_store_that_is_no_database_gives_advice(tmp_path, capsys):
    home = tmp_path / "home"
    home.mkdir()
    (home / "store.db").write_text("this is no database, " * 100)
    assert main(["status", "--home", str(home)]) == 5
    assert "store.db" in capsys.readouterr().err
