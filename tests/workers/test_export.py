"""Exported models: whole, loaded by the code they ship, and the job's own function."""

import json
import resource
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from methods import registry
from methods.exported import NotAnExport, load
from storage.records import MethodCall, frozen
from workers.checkpoint import restore
from workers.errors import ExportFailed
from workers.export import ExportRequest, export

GPS = ("gps", {"criterion": "magnitude", "connections_per_neuron": 2})
LORA = ("lora", {"rank": 2})
TOME = ("tome", {"schedule": [8, 8, 4, 0, 0, 0]})
PYRA = ("pyra", {"schedule": [8, 8, 4, 0, 0, 0]})


def stack_of(*methods):
    return tuple(MethodCall(name, registry.facts(name).revision, frozen(params)) for name, params in methods)


@pytest.fixture
def trained(a_job, run):
    """trained(("lora", {"rank": 2}), …): a final job and its result."""

    def make(*methods, **recipe):
        job = replace(a_job(recipe=recipe), methods=stack_of(*methods))
        return job, run(job)

    return make


def logits_of(model, size=32):
    torch.manual_seed(7)
    with torch.no_grad():
        return model.eval()(torch.randn(5, 3, size, size))


@pytest.mark.parametrize(
    "stack", [[("linear", {})], [("full", {})], [LORA], [("bitfit", {})], [GPS]], ids=lambda stack: stack[0][0]
)
def test_what_folds_away_is_loaded_by_timm_alone(trained, site, tmp_path, stack):
    job, result = trained(*stack, drop_path=0.1)
    done = export(ExportRequest(job, result, tmp_path / "out"), site)
    assert (done.remaining, sorted(done.sizes_bytes)) == ((), ["config.json", "load.py", "model.safetensors"])
    assert done.difference <= 1e-4
    loader = (tmp_path / "out" / "load.py").read_text()
    assert not any(word in loader for word in ("methods", "sweepboard", "workers"))
    scope = {"__file__": str(tmp_path / "out" / "load.py")}
    exec(compile(loader, "load.py", "exec"), scope)
    original, _ = restore(site.home / result.files["delta"], site)
    torch.testing.assert_close(logits_of(scope["model"]), logits_of(original.model), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "case",
    [
        ([TOME], True, ("tome",)),
        ([LORA, PYRA], True, ("pyra",)),
        ([GPS, TOME], True, ("tome",)),
        ([LORA], False, ("lora",)),
        ([GPS, TOME], False, ("gps", "tome")),
    ],
)
def test_methods_that_remain_are_rebuilt_without_data(trained, site, tmp_path, case):
    stack, merged, remaining = case
    job, result = trained(*stack)
    done = export(ExportRequest(job, result, tmp_path / "out", merged), site)
    assert done.remaining == remaining
    assert ("carried.safetensors" in done.sizes_bytes) == ("gps" in remaining)
    original, _ = restore(site.home / result.files["delta"], site)
    model = load(tmp_path / "out")
    torch.testing.assert_close(logits_of(model), logits_of(original.model), atol=1e-4, rtol=0)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_another_input_size_is_part_of_the_loader(trained, site, tmp_path):
    job, result = trained(LORA, image_size=40)
    export(ExportRequest(job, result, tmp_path / "out"), site)
    assert "set_input_size(img_size=(40, 40))" in (tmp_path / "out" / "load.py").read_text()


@pytest.mark.slow
def test_a_fresh_process_loads_the_folder_wherever_it_lies(trained, site, tmp_path):
    job, result = trained(LORA)
    export(ExportRequest(job, result, tmp_path / "out"), site)
    (tmp_path / "out").rename(tmp_path / "moved")
    code = "import runpy, sys; m = runpy.run_path(sys.argv[1])['model']; print(sum(p.numel() for p in m.parameters()))"
    words = [sys.executable, "-I", "-c", code, str(tmp_path / "moved" / "load.py")]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout
    assert int(printed) == result.metrics["total_params"]


def test_the_config_says_what_the_model_is(trained, site, tmp_path):
    job, result = trained(LORA)
    export(ExportRequest(job, result, tmp_path / "out"), site)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["job_id"], config["classes"], config["weights_hash"]) == (job.job_id, 4, "random")
    assert config["input"]["image_size"] == 32 and config["input"]["mean"] == [0.5, 0.5, 0.5]
    assert config["metrics"]["test_top1_pct"] == result.metrics["test_top1_pct"]
    assert ([call["name"] for call in config["methods"]], config["remaining_methods"]) == (["lora"], [])


def test_only_an_earlier_export_of_the_same_job_is_replaced(trained, site, tmp_path):
    job, result = trained(LORA)
    request = ExportRequest(job, result, tmp_path / "out")
    for _ in range(2):
        export(request, site)
    other, other_result = trained(("linear", {}))
    with pytest.raises(ExportFailed, match=f"holds the export of job {job.job_id}"):
        export(ExportRequest(other, other_result, tmp_path / "out"), site)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    with pytest.raises(ExportFailed, match="is no export"):
        export(ExportRequest(job, result, tmp_path / "mine"), site)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]


def test_what_is_missing_or_of_another_revision_is_told_before_anything_is_written(trained, site, tmp_path):
    job, result = trained(LORA)
    older = replace(job, methods=(replace(job.methods[0], revision=job.methods[0].revision + 1),))
    plain = replace(job, backbone=replace(job.backbone, name="raw_pixels"))
    (site.home / result.files["delta"]).rename(tmp_path / "away")
    for given, told, message in (
        (job, result, "delta of job .* is not at"),
        (job, replace(result, files={}), "kept no delta"),
        (plain, result, "no backbone to export"),
    ):
        with pytest.raises(ExportFailed, match=message):
            export(ExportRequest(given, told, tmp_path / "out"), site)
    (tmp_path / "away").rename(site.home / result.files["delta"])
    with pytest.raises(ExportFailed, match="trained with revision"):
        export(ExportRequest(older, result, tmp_path / "out"), site)
    assert not (tmp_path / "out").exists()


def test_on_a_full_disk_nothing_is_left_behind(trained, site, tmp_path):
    job, result = trained(LORA)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ExportFailed, match="Free some space"):
            export(ExportRequest(job, result, tmp_path / "place" / "out"), site)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "place").iterdir()) == []


def test_a_damaged_export_is_an_error_that_names_the_folder(trained, site, tmp_path):
    job, result = trained(TOME)
    export(ExportRequest(job, result, tmp_path / "out"), site)
    state = load_file(tmp_path / "out" / "model.safetensors")
    save_file(dict(list(state.items())[1:]), tmp_path / "out" / "model.safetensors")
    for folder in (tmp_path / "out", tmp_path / "nowhere"):
        with pytest.raises(NotAnExport, match=folder.name):
            load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("stack", [[LORA], [LORA, PYRA], [TOME]], ids=len)
def test_a_graph_of_a_merged_model_runs_with_any_batch_size(trained, site, tmp_path, stack):
    job, result = trained(*stack)
    done = export(ExportRequest(job, result, tmp_path / "out", formats=("torch_export",)), site)
    assert done.failures == ()
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    original, _ = restore(site.home / result.files["delta"], site)
    torch.manual_seed(7)
    torch.testing.assert_close(program(torch.randn(5, 3, 32, 32)), logits_of(original.model), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_model_that_cannot_be_a_graph_is_told_and_kept_as_safetensors(trained, site, tmp_path):
    job, result = trained(GPS)
    done = export(ExportRequest(job, result, tmp_path / "out", merged=False, formats=("torch_export",)), site)
    assert done.failures[0].startswith("torch_export: this model cannot be written")
    assert "model.safetensors" in done.sizes_bytes and "model.pt2" not in done.sizes_bytes
