"""Layers of an exported model that torch has none of: torch alone, and one path whatever the memory format.

They compute what the layers of the search space compute. The classes are copied word for word into stand-alone models
(`nas.models.exporting.source_code`), so each of them stands by itself: it uses `torch`, `nn`, `F`, `Tensor`,
`warnings` and nothing else.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ImageCheck:
    """Refuses images other than a model takes; a forward pre-hook with keyword arguments.

    Another size than that of the training images is warned of once. Values are looked at in evaluation mode, on a GPU
    in the first batch alone, since reading them waits for the device.

    Args:
        channels: C of the images.
        size: (H, W) of the training images; None if it is not known.
        takes: `floats`, in [0, 1]; `bytes`; or `normalised` floats.
    """

    def __init__(self, channels: int, size: tuple[int, int] | None, *, takes: str = "floats") -> None:
        self.channels, self.size, self.takes = channels, size, takes
        self.read_values = self.warned = False

    def __call__(self, model: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        """Raises ValueError if images are of another shape, type or range."""
        images = args[0] if args else kwargs.get("images")
        if images is None or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore
            return
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise ValueError(f"the model takes images (N, {self.channels}, H, W), got {tuple(images.shape)}")
        if images.is_floating_point() == (self.takes == "bytes"):
            wanted = {"floats": "floats in [0, 1]", "bytes": "bytes, uint8"}.get(self.takes, "normalised floats")
            cure = "; divide bytes by 255" if self.takes == "floats" else ""
            raise ValueError(f"the model takes images as {wanted}, got {images.dtype}{cure}")
        if self.size is not None and tuple(images.shape[2:]) != tuple(self.size) and not self.warned:
            self.warned = True
            got, own = ("x".join(map(str, size)) for size in (images.shape[2:], self.size))
            warnings.warn(f"images of {got} pixels; the model was trained on {own}, resize them", stacklevel=2)
        if self.takes != "floats" or model.training or not images.numel() or (images.is_cuda and self.read_values):
            return
        self.read_values = True
        low, high = (float(value) for value in images.detach().aminmax())
        if not (low >= -0.5 and high <= 1.5):  # resizing may overshoot a little
            raise ValueError(
                f"the model takes images in [0, 1], got values from {low:.4g} to {high:.4g}; divide bytes by 255, "
                "and leave mean and std to the model"
            )


class Normalize(nn.Module):
    """Brings images to about zero mean and unit variance: (images / scale - mean) / std.

    Args:
        mean: Of each channel, in units of the full scale.
        std: Standard deviation likewise.
        scale: 1 for floats in [0, 1], 255 for bytes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float], *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) of any number type to floats of the same shape, of the type of `mean`."""
        return (images.to(self.mean.dtype) / self.scale - self.mean) / self.std


class DynamicShuffle(nn.Module):
    """Permutes the channels of every image by a permutation that a small network makes of the image.

    A group of a · b channels, written as a matrix X (a, b), becomes A X Bᵀ with permutations A and B; the shuffle
    across the groups follows.

    Args:
        groups: g.
        sizes: a and b; C = g · a · b.
        hidden: Units of the small network.
    """

    def __init__(self, *, groups: int, sizes: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.groups = groups
        self.sizes = sizes
        self.num_logits = [groups * size * size if size > 1 else 0 for size in sizes]
        self.reduce = nn.Linear(groups * sizes[0] * sizes[1], hidden)
        self.expand = nn.Linear(hidden, sum(self.num_logits))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        logits = self.expand(F.relu(self.reduce(x.mean(dim=(2, 3)))))
        middle = self.num_logits[0]
        left = self.rounded(logits[:, :middle], self.sizes[0])  # (N, g, a)
        right = self.rounded(logits[:, middle:], self.sizes[1])  # (N, g, b)
        within = left.unsqueeze(3) * self.sizes[1] + right.unsqueeze(2)  # (N, g, a, b)
        first = self.sizes[0] * self.sizes[1] * torch.arange(self.groups, device=x.device).unsqueeze(1)
        index = (within.flatten(2) + first).transpose(1, 2).flatten(1)  # (N, C)
        return x.gather(1, index.unsqueeze(2).unsqueeze(3).expand_as(x))

    def rounded(self, logits: Tensor, size: int) -> Tensor:
        """Rounds matrices to permutations: takes the largest entry, strikes out its row and column, and so on.

        Args:
            logits: (N, g · size · size), of the matrices' rows.
            size: Of a matrix.

        Returns:
            (N, g, size).
        """
        if size == 1:
            return torch.zeros((logits.shape[0], self.groups, 1), dtype=torch.long, device=logits.device)
        entry = torch.arange(size * size, device=logits.device)
        row, column = entry // size, entry % size
        struck = (row.unsqueeze(1) == row) | (column.unsqueeze(1) == column)  # by each entry that is taken
        left = logits.reshape(-1, self.groups, size, size).softmax(dim=3).flatten(2)  # (N, g, size · size)
        taken = []
        for _ in range(size):
            taken.append(left.argmax(dim=2))  # (N, g)
            left = torch.where(struck[taken[-1]], -1.0, left)
        entries = torch.stack(taken, dim=2)  # (N, g, size)
        return (entries % size).gather(2, (entries // size).argsort(dim=2))


class StaticDynamicShuffle(nn.Module):
    """A dynamic shuffle plus a fixed linear map A ⊗ B of each group, with the shuffle across the groups after it."""

    def __init__(self, *, groups: int, sizes: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.groups = groups
        self.sizes = sizes
        self.dynamic = DynamicShuffle(groups=groups, sizes=sizes, hidden=hidden)
        self.static_a = nn.Parameter(torch.empty(groups, sizes[0], sizes[0]))
        self.static_b = nn.Parameter(torch.empty(groups, sizes[1], sizes[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        left, right = self.static_a, self.static_b.unsqueeze(1)
        a, b = self.sizes
        n, c, h, w = x.shape
        mixed = left @ x.reshape(n, self.groups, a, b * h * w)
        mixed = right @ mixed.reshape(n, self.groups, a, b, h * w)
        mixed = mixed.permute(0, 2, 3, 1, 4).reshape(n, c, h, w)
        out: Tensor = self.dynamic(x)
        return out + mixed
