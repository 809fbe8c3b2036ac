"""Trained models for use elsewhere: as ONNX, as a torch.export program, as one Python file."""
