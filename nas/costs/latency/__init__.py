"""How long models take: measured side by side, over batch sizes, backends, precisions and threads.

Modules:
    backends: Ways of running a model's forward pass: as it is, compiled, as a CUDA graph, in ONNX Runtime.
    comparison: Measuring models side by side.
    measurement: Timing forward passes side by side, and what follows from the times.
    model_entries: What a user writes to name a model among others: a reference, sizes, a name.
    peak_memory: The most memory that a model needs for a pass.
    settings: What `nas latency` times.
    torchvision_models: Torchvision's classification models as networks to compare with ours.
"""
