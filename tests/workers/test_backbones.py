"""Backbones: known, found, loaded strictly, and built the same every time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from storage.records import BackboneRef
from workers.backbone_facts import facts, table
from workers.backbones import build_model
from workers.data.folders import read_list
from workers.errors import UnknownBackbone, WeightsMismatch, WeightsMissing
from workers.make_backbone_facts import SHIPPED, measure
from workers.weights import find_by_hash, hash_of, reference, weights_file

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = SHARED / "weights" / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.fp16.safetensors"
needs_real_weights = pytest.mark.skipif(
    not REAL.exists(), reason="the real ViT-Ti lies in ../shared/data, which is absent"
)


def test_the_table_is_what_would_be_measured_now():
    assert set(table()) == set(SHIPPED)
    for name in ("raw_pixels", "nano_vit", "pico_vit", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        assert measure(name) == table()[name]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("vit_base_patch16_224", 85_798_656),
        ("swin_base_patch4_window7_224", 86_743_224),
        ("convnext_base", 87_564_416 + 2_048),
    ],
)
def test_published_sizes(name, params):
    assert table()[name].facts.params == params


def test_mean_and_std_are_those_of_the_checkpoint(tmp_path):
    assert facts("vit_tiny_patch16_224", tmp_path).mean == (0.5, 0.5, 0.5)
    assert facts("deit_tiny_patch16_224", tmp_path).mean == (0.485, 0.456, 0.406)


def test_another_name_of_timm_is_measured_once_and_cached(tmp_path):
    name = "vit_wee_patch16_reg1_gap_256"
    found = facts(name, tmp_path)
    assert (found.family, found.image_size, found.prefix_tokens, found.tokens) == ("vit", 256, 1, 257)
    assert [path.name for path in (tmp_path / "backbones").iterdir()] == [f"{name}.json"]
    assert facts(name, tmp_path) == found


def test_a_vit_of_parallel_blocks_is_no_vit_to_the_methods(tmp_path):
    assert facts("vit_pwee_patch16_reg1_gap_256", tmp_path).family == "vision_transformer"


@pytest.mark.parametrize("name", ["vit_tiny_patch16_225", "nano_vitt", "vit_tiny_patch16_224.no_such_tag"])
def test_an_unknown_name_says_what_was_meant(name, tmp_path):
    with pytest.raises(UnknownBackbone, match="Did you mean"):
        facts(name, tmp_path)


def test_resolving_known_backbones_loads_no_torch(tmp_path):
    (tmp_path / "own.pth").write_bytes(b"there")
    code = (
        "import sys; from pathlib import Path; from workers.weights import reference\n"
        f"reference('nano_vit', {str(tmp_path / 'own.pth')!r}, Path({str(tmp_path)!r}))\n"
        f"reference('vit_base_patch16_224', 'random', Path({str(tmp_path)!r}))\n"
        f"reference('nano_vit', None, Path({str(tmp_path)!r}))\n"
        "import workers.data.catalogue, workers.revision, workers.predictions\n"
        "assert not {'torch', 'timm', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_weights_say_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"hf download timm/vit_base_patch16_224\S+ model.safetensors"):
        reference("vit_base_patch16_224", None, tmp_path)
    for name in ("nowhere.safetensors", "nowhere.npz", "nowhere.pth"):
        with pytest.raises(
            WeightsMissing, match=rf"are not there \(looked for \S+/{name}\); expected a file that ends"
        ):
            reference("nano_vit", str(tmp_path / name), tmp_path)
    (tmp_path / "weights.ckpt").write_bytes(b"there")
    with pytest.raises(WeightsMissing, match=r"no format that is read here.*\.safetensors, \.npz, \.pth"):
        reference("nano_vit", str(tmp_path / "weights.ckpt"), tmp_path)


def test_a_backbone_of_the_articles_that_is_not_to_be_had_is_refused_by_name(tmp_path):
    with pytest.raises(UnknownBackbone, match="AS-MLP is not in timm"):
        facts("as_mlp_base", tmp_path)


def test_the_original_and_the_augreg_release_are_told_apart_by_the_tag(tmp_path):
    assert facts("vit_base_patch16_224.mae", tmp_path).mean == (0.485, 0.456, 0.406)
    assert facts("vit_base_patch16_224.orig_in21k", tmp_path).mean == (0.5, 0.5, 0.5)
    with pytest.raises(UnknownBackbone, match=r"augreg_in21k.*orig_in21k"):
        facts("vit_base_patch16_224_in21k", tmp_path)


def test_a_file_is_found_by_its_content(tmp_path):
    for name, content in (("a.npz", b"a"), ("b.pth", b"b"), ("c.txt", b"c")):
        (tmp_path / name).write_bytes(content)
    wanted = hash_of(tmp_path / "b.pth", tmp_path)
    assert find_by_hash(wanted, tmp_path, tmp_path) == tmp_path / "b.pth"
    assert find_by_hash(hash_of(tmp_path / "c.txt", tmp_path), tmp_path, tmp_path) is None


def test_raw_pixels_need_no_weights(tmp_path):
    assert reference("raw_pixels", None, tmp_path).weights_hash == "none"
    assert weights_file("raw_pixels", None, tmp_path) is None


def test_random_weights_come_from_the_seed_and_the_head_does_not_touch_them(a_job, site):
    one, same, other = (build_model(job, site) for job in (a_job("linear"), a_job("full"), a_job("linear", seed=1)))
    zero_head = build_model(a_job("linear", recipe={"head_init": "zero"}), site)
    weight = "blocks.0.attn.qkv.weight"
    assert torch.equal(one.get_parameter(weight), same.get_parameter(weight))
    assert torch.equal(one.get_parameter("head.weight"), same.get_parameter("head.weight"))
    assert torch.equal(one.get_parameter(weight), zero_head.get_parameter(weight))
    assert not torch.equal(one.get_parameter(weight), other.get_parameter(weight))
    assert zero_head.get_parameter("head.weight").abs().sum() == 0
    assert one.get_parameter("head.weight").std().item() == pytest.approx(0.02, rel=0.2)


def test_what_is_done_to_one_model_is_not_seen_by_the_next(a_job, site):
    first = build_model(a_job("linear"), site)
    before = first.get_parameter("norm.weight").clone()
    with torch.no_grad():
        first.get_parameter("norm.weight").zero_()
    assert torch.equal(build_model(a_job("linear"), site).get_parameter("norm.weight"), before)


def _with_file(job, site, path: Path, name: str = "nano_vit"):
    backbone = reference(name, str(path), site.cache)
    return replace(job, backbone=backbone), replace(site, weights={backbone.weights_hash: path})


def test_a_file_that_does_not_fit_is_refused_with_its_keys(a_job, site, tmp_path):
    state = {key: value.clone() for key, value in build_model(a_job("linear"), site).state_dict().items()}
    whole = tmp_path / "whole.safetensors"
    save_file(state, whole)
    job, here = _with_file(a_job("linear"), site, whole)
    assert torch.equal(build_model(job, here).get_parameter("norm.weight"), state["norm.weight"])
    del state["blocks.3.mlp.fc1.weight"]
    state["norm.weight"] = torch.ones(7)
    state["stranger"] = torch.ones(1)
    broken = tmp_path / "broken.safetensors"
    save_file(state, broken)
    job, here = _with_file(a_job("linear"), site, broken)
    with pytest.raises(WeightsMismatch, match=r"missing blocks.3.mlp.fc1.weight.*stranger.*norm.weight \[7\]"):
        build_model(job, here)


def test_a_file_that_changed_since_the_plan_is_refused(a_job, site, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"x": torch.zeros(3)}, path)
    job, here = _with_file(a_job("linear"), site, path)
    save_file({"x": torch.ones(4)}, path)
    with pytest.raises(WeightsMismatch, match="changed since the plan"):
        build_model(job, here)


def test_a_file_that_this_node_lacks_is_asked_for_by_name(a_job, site, tmp_path):
    gone = tmp_path / "gone.safetensors"
    save_file({"x": torch.zeros(3)}, gone)
    job, here = _with_file(a_job("linear"), site, gone)
    gone.unlink()
    with pytest.raises(WeightsMismatch, match="this node lacks it"):
        build_model(job, here)


def test_position_embeddings_are_interpolated_for_another_size(a_job, site):
    model = build_model(a_job("linear", recipe={"image_size": 48}), site)
    assert model.pos_embed.shape == (1, 1 + 12 * 12, 96)
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 4)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "convnext_tiny", "deit_tiny_distilled_patch16_224"])
def test_other_families_get_a_fresh_head_of_the_data_sets_classes(a_job, site, name):
    job = a_job("linear", backbone=BackboneRef(name, "random"), recipe={"image_size": 224})
    model = build_model(job, site).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 4)


@needs_real_weights
def test_the_real_vit_tiny_loads_strictly_and_its_features_separate_real_images(a_job, site):
    from PIL import Image
    from torchvision.transforms.functional import to_tensor

    job, here = _with_file(a_job("linear", recipe={"image_size": 224}), site, REAL, "vit_tiny_patch16_224")
    model = build_model(job, here).eval()
    stored = load_file(REAL)
    assert model.get_parameter("norm.weight").dtype == torch.float32
    assert all(
        torch.equal(model.get_parameter(key), value.float()) for key, value in stored.items() if "head" not in key
    )
    folder = SHARED / "vtab_like" / "rsscn7"
    listed = read_list(folder, "train800")[:48]
    images = [
        Image.open(folder / path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC) for path, _ in listed
    ]
    with torch.no_grad():
        tokens = model.forward_features(torch.stack([(to_tensor(image) - 0.5) / 0.5 for image in images]))
    features = torch.nn.functional.normalize(tokens[:, 0] - tokens[:, 0].mean(dim=0))
    labels = torch.tensor([label for _, label in listed])
    nearest = (features @ features.T).fill_diagonal_(-1).argmax(dim=1)
    agreement = (labels[nearest] == labels).float().mean().item()
    assert agreement > 0.45, "nearest neighbours agree on the class; chance is 1 in 7"
