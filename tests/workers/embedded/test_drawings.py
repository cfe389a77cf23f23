import torch

from workers.embedded.drawings import SceneDrawer


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_equal_generators_draw_equal_scenes_and_others_do_not():
    drawer = SceneDrawer()
    first, again, other = (drawer.draw(16, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.token_shape, again.token_shape)
    assert not torch.equal(first.images, other.images)


def test_a_scene_marks_at_most_one_patch_per_object_and_covers_some_ground():
    scenes = SceneDrawer().draw(64, generator(0))
    marked = (scenes.token_shape >= 0).sum(1)
    assert ((marked >= 1) & (marked <= scenes.count + 1)).all()
    assert (scenes.coverage.amax(1) > 0.02).float().mean() > 0.95


def test_the_main_object_is_where_its_labels_say():
    scenes = SceneDrawer().draw(64, generator(0))
    single = scenes.count == 0
    token = (scenes.token_shape[single] >= 0).int().argmax(1)
    x = 4 + (scenes.column[single] + 0.5) * 24 / 20
    y = 4 + (scenes.row[single] + 0.5) * 24 / 20
    assert ((token % 8 * 4 + 2 - x).abs() <= 2.61).all()
    assert ((token // 8 * 4 + 2 - y).abs() <= 2.61).all()


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    SceneDrawer().draw(8, generator(0))
    assert torch.equal(before, torch.get_rng_state())
