import torch

from nas.studies.demonstrations.model_costs import ModelCostSettings, _copies, build_model, run


def test_the_four_copies_are_two_functions():
    network, genotype = build_model("shufflenet_v2")
    copies = _copies(network, genotype)
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        logits = {label: copied(images, genotype) for label, copied in copies.items()}
    assert torch.allclose(logits["shuffle"], logits["folded shuffle"], rtol=1e-3, atol=1e-5)
    assert torch.allclose(logits["hardened"], logits["folded hardened"], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(logits["shuffle"], logits["hardened"], rtol=1e-2, atol=1e-3)


def test_every_model_is_timed():
    rows = []
    settings = ModelCostSettings(models=("shufflenasnet_a",), batch_sizes=(1,), image_size=8, rounds=1, warmup=0)
    figures = run(settings, seed=0, on_row=rows.append)
    assert figures["rows"] == rows
    assert [row["memory_format"] for row in rows] == ["contiguous", "channels_last"]
    assert all(row["folded_hardened_ratio"] > 0 for row in rows)
