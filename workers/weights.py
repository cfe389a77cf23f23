"""Which weights a backbone's name stands for: file, hash, mean and std. Free of torch: the planner resolves with it."""

from __future__ import annotations

from pathlib import Path

from storage.records import BackboneRef
from workers.backbone_facts import RAW_PIXELS, KnownBackbone, known_backbone
from workers.embedded.catalogue import EMBEDDED
from workers.errors import UnknownBackbone, WeightsMissing
from workers.files import RememberedHashes

DEFAULT_WEIGHTS, RANDOM_WEIGHTS, NO_WEIGHTS = "default", "random", "none"
WEIGHTS_ENDINGS = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".pth.tar")
"""Formats of weights files: safetensors, Google's ViTs, and what torch.save wrote."""

_HUB_FILE = "model.safetensors"


def reference(name: str, weights: str | None, cache: Path, *, may_download: bool = False) -> BackboneRef:
    """The backbone as a job names it: weights by hash, mean and std from the checkpoint's card.

    `weights`: None or "default" (embedded: the shipped file; timm: the hub's), "random", or the path of a local
    file with one of WEIGHTS_ENDINGS. The file's hash is remembered in `cache`. Raises UnknownBackbone, WeightsMissing.
    """
    known = known_backbone(name, cache)
    if known is None:
        raise UnknownBackbone(f"nothing is known of backbone {name!r} without timm; install sweepboard[train]")
    path = weights_file(name, weights, cache, may_download=may_download)
    without_file = NO_WEIGHTS if name == RAW_PIXELS else RANDOM_WEIGHTS
    weights_hash = without_file if path is None else hash_of(path, cache)
    facts = known.facts
    return BackboneRef(name, weights_hash, facts.mean, facts.std, facts.interpolation, facts.crop_pct)


def weights_file(name: str, weights: str | None, cache: Path, *, may_download: bool = False) -> Path | None:
    """The file that `weights` means for this backbone; None where there is nothing to load. Raises WeightsMissing."""
    if name == RAW_PIXELS or weights == RANDOM_WEIGHTS:
        return None
    if weights not in (None, DEFAULT_WEIGHTS):
        return _local(name, weights)
    if name in EMBEDDED:
        return _shipped(name)
    return _from_hub(name, known_backbone(name, cache), may_download)


def hash_of(path: Path, cache: Path) -> str:
    """64 hex of SHA-256 over a weights file, remembered by path, size and time of change."""
    hashes = RememberedHashes(cache, "weights")
    found = hashes.of(path)
    hashes.save()
    return found


def find_by_hash(weights_hash: str, folder: Path, cache: Path) -> Path | None:
    """The weights file in the folder (not below it) with that content; None where there is none."""
    files = sorted(path for path in folder.glob("*") if path.name.endswith(WEIGHTS_ENDINGS) and path.is_file())
    return next((path for path in files if hash_of(path, cache) == weights_hash), None)


def _local(name: str, weights: str) -> Path:
    path = Path(weights).expanduser().resolve()
    if path.name.endswith(WEIGHTS_ENDINGS) and path.is_file():
        return path
    wrong = "are in no format that is read here" if path.is_file() else "are not there"
    raise WeightsMissing(
        f"weights {weights!r} of {name} {wrong} (looked for {path}); expected a file that ends with "
        f"{', '.join(WEIGHTS_ENDINGS)}, or {DEFAULT_WEIGHTS!r} or {RANDOM_WEIGHTS!r}"
    )


def _shipped(name: str) -> Path:
    path = EMBEDDED[name].weights
    if not path.is_file():
        raise WeightsMissing(f"the shipped weights of {name} are not at {path}; install the package again")
    return path


def _from_hub(name: str, known: KnownBackbone | None, may_download: bool) -> Path:
    repository = known.hub_repository if known else None
    if repository is None:
        raise WeightsMissing(
            f"no weights of {name} are published on the hub; write weights: path/to/file ({', '.join(WEIGHTS_ENDINGS)})"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise WeightsMissing(
            f"the default weights of {name} are on the hub ({repository}), and this installation cannot look there; "
            "pip install 'sweepboard[train]'"
        ) from None
    try:
        return Path(hf_hub_download(repository, _HUB_FILE, local_files_only=not may_download))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        cause = "could not be downloaded" if may_download else "are not in the hub's cache on this machine"
        raise WeightsMissing(
            f"the default weights of {name} {cause} ({type(error).__name__}). Where there is a network: "
            f"`hf download {repository} {_HUB_FILE}`; or copy that file here and write weights: path/to/{_HUB_FILE}; "
            f"the release's own file ({', '.join(WEIGHTS_ENDINGS[1:])}) does as well"
        ) from None
