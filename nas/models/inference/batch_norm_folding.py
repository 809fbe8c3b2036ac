"""Folding batch norm into the convolution before it, for inference.

In evaluation batch norm multiplies every channel by a constant and adds another, which a convolution does as well: its
rows are scaled and it gets a bias. The result is the same up to rounding, and one pass over the activations less.

What follows no convolution stays: batch norm after the sum of a cell (ShuffleNASNet, arXiv:1812.02975, §IV-D) and after
`concat_conv1x1`.
"""

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from search_spaces.batch_norm import BATCH_NORMS
from search_spaces.ops import FactorizedReduction


def fold_batch_norm(network: nn.Module) -> int:
    """Folds batch norm within sequences of modules and within factorized reductions, in place.

    Args:
        network: The network, in evaluation mode; it cannot be trained afterwards.

    Returns:
        How many batch norms are gone.
    """
    before = _num_norms(network)
    for module in list(network.modules()):
        if type(module).forward is nn.Sequential.forward:
            assert isinstance(module, nn.Sequential)
            for i in reversed(range(1, len(module))):
                conv, norm = module[i - 1], module[i]
                if isinstance(conv, nn.Conv2d) and _foldable(norm):
                    absorb(conv, norm)
                    del module[i]
        elif type(module) is FactorizedReduction and _foldable(module.bn):
            middle = module.even.out_channels
            absorb(module.even, module.bn, slice(middle))
            absorb(module.odd, module.bn, slice(middle, None))
            module.bn = nn.Identity()  # type: ignore[assignment]
    return before - _num_norms(network)


def fold_batch_norm_by_graph(network: nn.Module) -> tuple[nn.Module, int]:
    """Folds batch norm wherever the graph of calls shows that it alone reads a convolution's output.

    For networks of other people's making, whose convolutions and batch norms are joined by code.

    Args:
        network: The network, in evaluation mode, maps (N, C, H, W) to logits; changed in place if it cannot be traced.

    Returns:
        The network, traced where that is possible, and how many batch norms are gone.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception:  # control flow that depends on values fails in many ways
        return network, fold_batch_norm(network)
    modules, before = dict(traced.named_modules(remove_duplicate=False)), _num_norms(traced)
    calls = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    for node in list(traced.graph.nodes):
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        norm, conv = modules[str(node.target)], modules[str(source.target)]
        once = calls.count(source.target) == 1 and len(source.users) == 1
        if once and isinstance(conv, nn.Conv2d) and _foldable(norm):
            absorb(conv, norm)
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced, before - _num_norms(traced)


@torch.no_grad()
def absorb(conv: nn.Conv2d, norm: nn.Module, channels: slice = slice(None)) -> None:
    """Makes a convolution do, in place, what batch norm after it does in evaluation with a part of its channels.

    It is computed in float64.
    """
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance, weight, bias = (
        None if values is None else values.double()[channels]
        for values in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    own_bias = None if conv.bias is None else conv.bias.double()
    fused = fuse_conv_bn_weights(conv.weight.double(), own_bias, mean, variance, norm.eps, weight, bias)  # type: ignore[arg-type]
    conv.weight.copy_(fused[0])
    conv.bias = nn.Parameter(fused[1].to(conv.weight.dtype))


def _num_norms(network: nn.Module) -> int:
    return sum(type(module) in BATCH_NORMS for module in network.modules())


def _foldable(norm: nn.Module) -> bool:
    """Whether a module is batch norm that acts by its running statistics."""
    return type(norm) in BATCH_NORMS and not norm.training and norm.running_mean is not None
