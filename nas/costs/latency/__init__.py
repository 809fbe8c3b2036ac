"""Latencies of models, measured side by side over batch sizes, backends, precisions and threads.

Modules:
    backends: Ways of running a model's forward pass: eager, compiled, as a CUDA graph, in ONNX Runtime.
    comparison: Measuring models side by side.
    measurement: Timing forward passes side by side, and statistics of the times.
    model_entries: The entries by which a user names models to compare: a reference, sizes, a name.
    peak_memory: The most memory that a model needs for a pass.
    settings: Settings of `nas latency`.
    timm_models: Models of the package timm as networks to compare with ours.
    torchvision_models: Torchvision's classification models as networks to compare with ours.
"""
