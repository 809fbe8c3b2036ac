"""Kaleidoscope matrices as mixers (Dao et al. 2020, arXiv:2012.14966): three forms of O(C log C) weights.

`SwitchShuffle` learns a permutation by the switches of a network; the other two learn linear maps of the channels, the
replacement of the channel shuffle in the paper's ShuffleNet experiment. All start at or near the manual shuffle. All
make their matrix (C, C) once per forward pass and apply it as a 1x1 convolution: the matrix costs O(C² log C), less
than applying the layers to every pixel as soon as there are more pixels than channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.butterfly import butterfly_multiply, identity_twiddle, kaleidoscope_matrix, permutation_kaleidoscope
from search_spaces.mixers import Mixer, Permutation, shuffle_index
from search_spaces.switches import SwitchTables, route, switch_matrix, switch_permutation, switch_tables

START_SHARE = 0.8
"""Of a channel through all layers of switches. With switches 12 % soft, 15 layers would leave a seventh."""
SWITCH_LR_SCALE = 16.0
"""Logits have further to go than weights, and their gradient is p (1 − p), at most a quarter, of that by p."""
LOGIT_LIMIT = 12.0
"""Where `project` stops the logits: a switch is then off by 6e-6, and its gradient is not yet lost in float32."""


class MatrixMixer(Mixer):
    """A mixer that makes its matrix in every forward pass and applies it as a 1x1 convolution."""

    def matrix(self) -> Tensor:
        """Returns the matrix (C, C), in float32 at least."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels mixed."""
        return _mix(x, self.matrix())

    @torch.no_grad()
    def harden(self) -> nn.Module:
        """Returns the linear map with its matrix written out."""
        return FixedLinear(self.matrix())


class SwitchShuffle(MatrixMixer):
    """A learned permutation as a network of soft switches (the latent permutations of arXiv:2012.14966, §3.2).

    Each switch is [[p, 1 − p], [1 − p, p]] with p = sigmoid(logit), so the matrix is doubly stochastic by construction
    and the nearest hard network is an exact permutation, whatever the logits. The paper's butterflies need a C
    that is a power of 2, this network does not. Weight decay softens the switches: leave it off the logits.

    Args:
        channels: C.
        groups: The groups of the channel shuffle at which it starts, a divisor of C.
        start_logit: How far the logits start from 0, on the side of that shuffle; None takes what leaves `START_SHARE`
            of every channel where the shuffle puts it.

    Raises:
        ValueError: If `groups` does not divide `channels`.
    """

    rounds: bool = True

    lr_scale: float = SWITCH_LR_SCALE
    partner: Tensor
    switch: Tensor

    def __init__(self, channels: int, *, groups: int = 2, start_logit: float | None = None) -> None:
        super().__init__(channels)
        tables = switch_tables(channels)
        if start_logit is None:
            passing = START_SHARE ** (1 / max(1, len(tables.partner)))  # the share that every layer leaves
            start_logit = math.log(passing / (1 - passing))
        self.register_buffer("partner", tables.partner, persistent=False)
        self.register_buffer("switch", tables.switch, persistent=False)
        settings = route(shuffle_index(channels, groups))
        self.logits = nn.Parameter(start_logit * (2 * settings.float() - 1))  # (S,)

    def matrix(self) -> Tensor:
        """Returns the soft matrix (C, C), nonnegative with rows and columns that sum to 1, in float32 at least."""
        tables = SwitchTables(partner=self.partner, switch=self.switch, num_switches=len(self.logits))
        return switch_matrix(_full_precision(self.logits).sigmoid(), tables)

    def regularization(self) -> Tensor:
        """Returns Σ 4 p (1 − p) over all switches, shape (); 0 where every p is 0 or 1.

        Near a permutation this equals to first order the row and column penalty P of the whole matrix (AutoShuffleNet,
        arXiv:1901.08624, eq. 4), so the same λ serves both: a switch that is off by ε spoils two rows and two columns,
        each of which then adds ε to P.
        """
        logits = _full_precision(self.logits)
        return 4 * (logits.sigmoid() * (-logits).sigmoid()).sum()

    @torch.no_grad()
    def project(self) -> None:
        """Clamps the logits to ±`LOGIT_LIMIT`, from where a switch can still turn."""
        self.logits.clamp_(-LOGIT_LIMIT, LOGIT_LIMIT)

    @torch.no_grad()
    def harden(self) -> Permutation:
        """Returns the exact permutation of the switches that pass where p > 0.5 and swap elsewhere.

        Raises:
            ValueError: If a logit is not a number.
        """
        if self.logits.isnan().any():
            raise ValueError("the logits of the switches are not numbers: the training diverged")
        return Permutation(switch_permutation(self.logits > 0, self.channels))

    @torch.no_grad()
    def distance(self) -> Tensor:
        """Returns the largest difference of an entry of the matrix to that of `harden`, shape (), in [0, 1]."""
        matrix = self.matrix()
        hard = F.one_hot(self.harden().index, self.channels).to(matrix.dtype)
        return (matrix - hard).abs().max()


class Kaleidoscope(MatrixMixer):
    """A learned linear map of the channels in BB*, real and unconstrained, zero-padded to a power of 2 and cut.

    It starts exactly at the channel shuffle, which one butterfly alone could not write. The padded channels of a C that
    is no power of 2 stay where they are in that start, so there it needs no extra shuffle either. A linear map, not a
    permutation: it has no penalty, and `harden` only writes out its matrix. The authors' code spares it weight decay.
    """

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__(channels)
        padded = 2 ** (channels - 1).bit_length()
        index = torch.cat([shuffle_index(channels, groups), torch.arange(channels, padded)])
        self.twiddle = nn.Parameter(permutation_kaleidoscope(index).float())  # (1, 2, log₂ m, m/2, 2, 2)

    def matrix(self) -> Tensor:
        """Returns the matrix (C, C), in float32 at least."""
        return kaleidoscope_matrix(_full_precision(self.twiddle), self.channels)


class OrthogonalKaleidoscope(MatrixMixer):
    """A learned linear map of the channels O₁ D O₂*: orthogonal butterflies around a diagonal, after a fixed shuffle.

    The form that the authors' public ShuffleNet experiment used (HazyResearch/butterfly, `odo`): each 2x2 of a
    butterfly is a rotation, with an angle of its own, so that only the diagonal can scale. It starts at the channel
    shuffle, with identities (angles 0, diagonal 1) after it; theirs starts at random angles. A linear map, not a
    permutation: it has no penalty, and `harden` only writes out its matrix. Their weight decay spares it, too. C is
    zero-padded to m, the next power of 2, and cut.
    """

    source: Tensor

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__(channels)
        self.register_buffer("source", shuffle_index(channels, groups).argsort(), persistent=False)
        shape = identity_twiddle(channels).shape[1:4]
        self.angles = nn.Parameter(torch.zeros(shape))  # (2, log₂ m, m/2), in radians
        self.diagonal = nn.Parameter(torch.ones(2 ** shape[1]))  # (m,)

    def matrix(self) -> Tensor:
        """Returns the matrix (C, C), the shuffle included, in float32 at least."""
        angles, diagonal = _full_precision(self.angles), _full_precision(self.diagonal)
        cos, sin = angles.cos(), angles.sin()
        twiddle = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        columns = torch.eye(self.channels, len(diagonal), dtype=angles.dtype, device=angles.device)  # (C, m)
        columns = butterfly_multiply(twiddle[0], diagonal * butterfly_multiply(twiddle[1], columns, adjoint=True))
        return columns[:, : self.channels].T.index_select(1, self.source)


class FixedLinear(Mixer):
    """A fixed linear map of the channels, for inference: a 1x1 convolution whose matrix (C, C) does not train."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(len(matrix))
        self.weight = nn.Parameter(matrix.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels mixed."""
        return _mix(x, self.weight)


def _full_precision(weights: Tensor) -> Tensor:
    """Returns half-precision weights in float32, and others as they are."""
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    return F.conv2d(x, matrix.to(x.dtype)[:, :, None, None])
