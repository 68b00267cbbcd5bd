"""Studies on a store of features (`transfer.extraction`): its network is the one to re-use, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tl_keras.data.image_data import ImageData
from tl_keras.errors import InputError
from tl_keras.files import write_bytes
from tl_keras.models import networks
from tl_keras.run_folder import RunFolder
from tl_keras.study import backbone_choice
from tl_keras.training import runtime
from tl_keras.transfer import engine, feature_store, shards


def named(settings, images: ImageData, out: RunFolder):
    """The settings with the network of the store that `images` come from; as they are for other images.

    Args:
        settings: of a study, with a backbone and weights; what they name has to be the network of the store.

    Raises:
        InputError: they name another network, or several.
    """
    found = feature_store.plan_behind(images.train.images)
    if found is None:
        return settings
    folder, plan = found
    if settings.backbone is None:
        return replace(settings, backbone=str(_network(folder, plan, out)), weights="none")
    candidates = backbone_choice.parse(settings.backbone, settings.weights)
    if len(candidates) > 1 or _layers(candidates[0], plan) != plan.layers:
        raise InputError(
            f"--backbone: expected the network of {folder.url}, {plan.backbone} with the weights that it had, received "
            f"{settings.backbone}; leave it out, or extract the features of that one into another folder"
        )
    return settings


def _network(folder, plan: shards.Plan, out: RunFolder) -> Path:
    """The network's file, brought here where it lies elsewhere."""
    name = f"{plan.backbone}.keras"
    if folder.local:
        return folder.local / name
    path = out.path.absolute() / name
    write_bytes(path, folder.read(name))
    return path


def _layers(candidate: backbone_choice.Candidate, plan: shards.Plan) -> str:
    """The fingerprint of what a candidate makes of the images of a plan; empty where it cannot see them."""
    view = networks.view(candidate.name, plan.view.mirror)
    if view != plan.view:
        return ""
    runtime.prepare(seed=0)
    return engine.fingerprint(shards.to_features(networks.build(candidate.name, 2, view, candidate.weights)))
