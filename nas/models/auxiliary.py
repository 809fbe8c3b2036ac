"""The auxiliary classifier of NASNet's descendants: a second loss on an inner layer while the network is trained."""

from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.ops import batch_norm

AUXILIARY_CHANNELS = (128, 768)


class AuxiliaryHead(nn.Module):
    """A second classifier on an inner layer, for training only (the code of ENAS and DARTS; Szegedy et al. 2015).

    relu, 5x5 average pooling of stride 3, 1x1 conv to 128, BN, relu, 2x2 conv to 768, BN, relu, mean, linear. The
    published ones are made for layers of 8x8; smaller layers are pooled to 2x2.

    Args:
        channels: C of the layer.
        num_classes: Outputs.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        first, second = AUXILIARY_CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 1, bias=False),
            batch_norm(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 2, bias=False),
            batch_norm(second),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(second, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        x = F.relu(x)
        x = F.avg_pool2d(x, 5, 3) if min(x.shape[2:]) >= 8 else F.adaptive_avg_pool2d(x, 2)
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits
