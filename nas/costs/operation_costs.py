"""Costs of tensor operations on one image: the kind of each, the formulas of a convolution, the sums of a layer.

Costs are those of the guidelines of ShuffleNet V2 (Ma et al. 2018, arXiv:1807.11164, §2): multiply-adds and memory
access, in elements. `nas.costs.operations` records the operations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KINDS = ("dense conv", "pointwise conv", "depthwise conv", "grouped conv", "linear", "element-wise", "pool", "movement")
POOLS = {"mean", "sum", "amax", "amin"}  # and those with "pool" in their name
MOVEMENTS = {
    *("cat", "stack", "clone", "copy", "to_copy", "constant_pad_nd", "repeat", "roll", "flip", "pixel_shuffle"),
    *("channel_shuffle", "index", "index_select", "index_put", "index_copy", "gather", "scatter", "slice_scatter"),
    *("zeros", "ones", "full", "fill", "zero", "arange", "zeros_like", "ones_like", "full_like", "new_zeros"),
}


@dataclass(frozen=True, slots=True)
class Convolution:
    """The sizes of a convolution on one image.

    Attributes:
        in_channels: c1.
        out_channels: c2.
        groups: g.
        kernel_elements: Height times width of the kernel.
        in_pixels: Height times width of the input.
        out_pixels: Height times width of the output, h·w.
    """

    in_channels: int
    out_channels: int
    groups: int
    kernel_elements: int
    in_pixels: int
    out_pixels: int

    @property
    def weights(self) -> int:
        """Number of weights, c1·c2 / g for a 1x1 kernel; biases are left out."""
        return self.kernel_elements * self.in_channels * self.out_channels // self.groups

    @property
    def memory_access_elements(self) -> int:
        """Memory access cost, hw(c1 + c2) + c1·c2 / g for 1x1 kernels (ShuffleNet V2, arXiv:1807.11164, §2, G1, G2)."""
        return self.in_pixels * self.in_channels + self.out_pixels * self.out_channels + self.weights

    @property
    def least_memory_access_elements(self) -> float:
        """Least memory access of a convolution with as many multiply-adds and these resolutions, groups apart.

        For B multiply-adds, 1x1 kernels and one resolution that is 2·√(hw·B) + B / hw, met by c1 = c2 (§2, eq. 2).
        Other kernels and strides go beyond the paper: the same inequality of the means, at fixed c1·c2.
        """
        reads, writes = self.in_pixels * self.in_channels, self.out_pixels * self.out_channels
        return 2 * math.sqrt(reads * writes) + self.weights

    @property
    def ungrouped_memory_access_elements(self) -> float:
        """Memory access without groups at the same input and multiply-adds, so with c2 / g outputs (§2, eq. 3)."""
        writes = self.out_pixels * self.out_channels / self.groups
        return self.in_pixels * self.in_channels + writes + self.weights


@dataclass(frozen=True, slots=True)
class Operation:
    """One tensor operation, on a GPU one kernel.

    Attributes:
        name: torch's, such as `convolution` or `relu`.
        kind: One of `KINDS`; a copy, concatenation or gather is a movement, a mean over pixels a pool.
        layer: The part of the network that ran it.
        output_shape: Without the batch axis.
        multiply_adds: Those of convolutions and matrix products; 0 for others.
        parameters: Weights read.
        new_parameters: Those among them that no earlier operation read.
        memory_access_elements: Elements of all tensors read and of the output.
        output_elements: Elements of the output.
        depth: Operations in the longest chain that ends here, each waiting for the one before.
        convolution: Its sizes if it is one.
    """

    name: str
    kind: str
    layer: str
    output_shape: tuple[int, ...]
    multiply_adds: int
    parameters: int
    new_parameters: int
    memory_access_elements: int
    output_elements: int
    depth: int
    convolution: Convolution | None = None


def kind_of(name: str, convolution: Convolution | None, *, is_product: bool) -> str:
    """Returns the one of `KINDS` that an operation is; `is_product`: whether it is a matrix product."""
    if convolution is not None:
        if convolution.groups == 1:
            return "pointwise conv" if convolution.kernel_elements == 1 else "dense conv"
        return "depthwise conv" if convolution.groups == convolution.in_channels else "grouped conv"
    if is_product:
        return "linear"
    if "pool" in name or name in POOLS:
        return "pool"
    return "movement" if name in MOVEMENTS else "element-wise"


def layer_cost(name: str, operations: Sequence[Operation], output_shape: tuple[int, ...]) -> dict[str, Any]:
    """Sums the operations of a layer, or of the whole network, on one image.

    Returns:
        `name`; `output_shape`, without the batch axis; `parameters` on the path, a weight shared between layers counted
        in the first; `multiply_adds` of convolutions and matrix products; `memory_access_elements`, read and written,
        weights included; `kernels`, operations without views; of the element-wise ones among them
        `elementwise_kernels`, `elementwise_output_elements` and `elementwise_memory_access_elements`.
    """
    elementwise = [operation for operation in operations if operation.kind == "element-wise"]
    return {
        "name": name,
        "output_shape": output_shape,
        "parameters": sum(operation.new_parameters for operation in operations),
        "multiply_adds": sum(operation.multiply_adds for operation in operations),
        "memory_access_elements": sum(operation.memory_access_elements for operation in operations),
        "kernels": len(operations),
        "elementwise_kernels": len(elementwise),
        "elementwise_output_elements": sum(operation.output_elements for operation in elementwise),
        "elementwise_memory_access_elements": sum(operation.memory_access_elements for operation in elementwise),
    }
