"""The shipped nano_vit is worth its bytes: a linear probe on it clearly beats one on a random backbone."""

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from workers.embedded.architectures import build_embedded
from workers.embedded.catalogue import EMBEDDED, EMBEDDED_TASKS
from workers.embedded.pretrain import normalised

NANO = EMBEDDED["nano_vit"]
FEWEST_POINTS_GAINED = {"digits": 20.0, "location": 12.0, "count": 20.0}


@pytest.fixture(scope="module")
def backbones():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random, shipped = build_embedded("nano_vit", num_classes=0), build_embedded("nano_vit", num_classes=0)
    shipped.load_state_dict(load_file(NANO.weights), strict=True)
    yield random.eval(), shipped.eval()
    torch.set_num_threads(threads)


def features(backbone, images):
    with torch.no_grad():
        return torch.cat([backbone(part) for part in normalised(images, NANO).split(250)])


def probe_accuracy(backbone, train, test):
    """Percent correct of a linear head trained full-batch on standardised features."""
    train_x, test_x = features(backbone, train[0]), features(backbone, test[0])
    mean, std = train_x.mean(0), train_x.std(0) + 1e-5
    train_x, test_x = (train_x - mean) / std, (test_x - mean) / std
    head = torch.zeros(int(train[1].max()) + 1, train_x.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.AdamW([head], lr=0.02, weight_decay=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        functional.cross_entropy(train_x @ head[:, 1:].T + head[:, 0], train[1]).backward()
        optimizer.step()
    correct = (test_x @ head[:, 1:].T + head[:, 0]).argmax(1) == test[1]
    return 100 * correct.float().mean().item()


def tensors(*parts):
    images = torch.cat([torch.from_numpy(images) for images, _ in parts]).permute(0, 3, 1, 2)
    return images, torch.cat([torch.from_numpy(labels) for _, labels in parts])


@pytest.mark.parametrize("task", list(EMBEDDED_TASKS))
def test_a_linear_probe_gains_much_from_the_shipped_weights(backbones, drawn, task):
    train, test = tensors(drawn[task, "train800"], drawn[task, "val200"]), tensors(drawn[task, "test"])
    random, shipped = (probe_accuracy(backbone, train, test) for backbone in backbones)
    assert shipped - random >= FEWEST_POINTS_GAINED[task]
