"""Facts of backbones without building them: at another image size, and under names that timm has given up."""

from __future__ import annotations

import subprocess
import sys

import pytest
from timm.models import get_deprecated_models

from workers.backbone_facts import facts, facts_at, table
from workers.backbone_names import OLD_IN21K
from workers.errors import UnknownBackbone, Unsupported
from workers.make_backbone_facts import is_buildable


@pytest.mark.parametrize("known", table().values(), ids=table())
def test_at_their_own_size_facts_stay_as_they_are(known):
    assert facts_at(known.facts, known.facts.image_size) == facts_at(known.facts, None) == known.facts


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("vit_base_patch16_224", 384, 577),
        ("deit_tiny_distilled_patch16_224", 384, 578),
        ("nano_vit", 16, 17),
        ("swin_tiny_patch4_window7_224", 448, 12544),
        ("convnext_tiny", 230, 57**2),
        ("raw_pixels", 8, 1),
    ],
)
def test_tokens_follow_the_image_size(name, size, tokens):
    found = facts_at(table()[name].facts, size)
    assert (found.image_size, found.tokens) == (size, tokens)


@pytest.mark.parametrize(("size", "advice"), [(230, "use 224 or 240"), (8, "use 16$")])
def test_an_image_that_whole_patches_do_not_cover_is_refused(size, advice):
    with pytest.raises(Unsupported, match=f"image_size {size} is no multiple of the patch size 16 of .*{advice}"):
        facts_at(table()["vit_tiny_patch16_224"].facts, size)


@pytest.mark.parametrize("name", ["vit_base_patch16_224_in21k", "vit_large_patch16_224_in21k"])
def test_an_old_name_of_two_sets_of_weights_is_answered_with_both(name, tmp_path):
    stem = name.removesuffix("_in21k")
    with pytest.raises(UnknownBackbone) as refused:
        facts(name, tmp_path)
    assert f"'{stem}.augreg_in21k' (what timm takes for it today)" in str(refused.value)
    assert f"'{stem}.orig_in21k' (the original release" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("vit_tiny_patch16_224_in21k", "vit_tiny_patch16_224.augreg_in21k"),
        ("swin_base_patch4_window7_224_in22k", "swin_base_patch4_window7_224.ms_in22k"),
    ],
)
def test_every_other_old_name_is_answered_with_the_present_one(name, present, tmp_path):
    with pytest.raises(UnknownBackbone, match=f"{name!r} is an old name of '{present}'; write that"):
        facts(name, tmp_path)


def test_our_list_of_old_names_is_timms():
    ours = {name: present[0] for name, present in OLD_IN21K.items()}
    assert {name: get_deprecated_models().get(name) for name in ours} == ours
    assert all(is_buildable(name) for present in OLD_IN21K.values() for name in present)


def test_the_old_names_are_refused_without_timm(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from workers.backbone_facts import facts\n"
        "try:\n"
        "    facts('vit_base_patch16_224_in21k', Path(sys.argv[1]))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, [name for name in ('torch', 'timm') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "UnknownBackbone []"
