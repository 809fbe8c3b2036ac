import pytest
import torch

from search_spaces.cells import with_dense_gradient


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_a_part_of_a_concatenation_gets_its_gradient_in_its_own_layout(memory_format):
    seen = []
    parts = [torch.randn(2, 3, 4, 4).to(memory_format=memory_format).requires_grad_() for _ in range(2)]
    dense = [with_dense_gradient(part * 1) for part in parts]
    inner = [part.grad_fn.next_functions[0][0] for part in dense]
    for node in inner:
        node.register_prehook(lambda grads: seen.append(grads[0]))
    weights = torch.randn(2, 6, 4, 4).to(memory_format=memory_format)
    (torch.cat(dense, dim=1) * weights).sum().backward()
    assert all(grad.is_contiguous(memory_format=memory_format) for grad in seen)
    assert torch.equal(parts[0].grad, weights[:, :3])
    assert torch.equal(parts[1].grad, weights[:, 3:])


def test_without_a_gradient_it_is_the_tensor_itself():
    x = torch.randn(1, 2, 3, 3)
    assert with_dense_gradient(x) is x
