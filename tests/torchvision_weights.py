"""Weights of torchvision's ShuffleNet v2 for ours, whose parts go by other names."""

from collections.abc import Mapping

from torch import Tensor

from nas.models.shufflenets import ShuffleNetV2


def load_torchvision_weights(network: ShuffleNetV2, weights: Mapping[str, Tensor]) -> None:
    """Copies the state dict of a torchvision `shufflenet_v2_x*`; the mixers, which it lacks, keep their weights.

    Raises:
        ValueError: If a name is missing or unknown or a shape differs; nothing is copied then.
    """
    own = {name: value for name, value in network.state_dict().items() if ".mixer." not in name}
    theirs = {name: _torchvision_name(name) for name in own}
    if odd := sorted(weights.keys() ^ set(theirs.values())):
        raise ValueError(f"not a torchvision ShuffleNet v2: {', '.join(odd[:3])} missing or unknown ({len(odd)} such)")
    for name, value in own.items():
        if (shape := weights[theirs[name]].shape) != value.shape:
            raise ValueError(
                f"{theirs[name]} has shape {tuple(shape)} in torchvision's weights and {tuple(value.shape)} here: "
                "both need the same width, num_classes and in_channels"
            )
    network.load_state_dict({name: weights[theirs[name]] for name in own}, strict=False)


def _torchvision_name(name: str) -> str:
    """Translates our name of a weight, `stages.0.1.branch.3.weight` to `stage2.1.branch2.3.weight`."""
    top, *rest = name.split(".")
    if top != "stages":
        return ".".join([{"stem": "conv1", "final": "conv5", "classifier": "fc"}[top], *rest])
    stage, unit, path, *rest = rest
    return ".".join([f"stage{int(stage) + 2}", unit, {"shortcut": "branch1", "branch": "branch2"}[path], *rest])
