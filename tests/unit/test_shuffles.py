import pytest
import torch

from search_spaces.shuffles import ChannelShuffle, build_mixer


def test_channel_shuffle_of_two_groups_interleaves_the_halves():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert ChannelShuffle(6)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_channel_shuffle_agrees_with_torch_and_keeps_the_memory_format(groups, memory_format):
    x = torch.randn(2, 12, 5, 7).to(memory_format=memory_format)
    out = ChannelShuffle(12, groups=groups)(x)
    assert torch.equal(out, torch.nn.functional.channel_shuffle(x, groups))
    assert out.is_contiguous(memory_format=memory_format)


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="divide 7 channels, got 2"):
        ChannelShuffle(7)


def test_unknown_mixer_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown mixer 'mix'; known: auto_shuffle, channel_shuffle, .*identity"):
        build_mixer("mix", 4)
