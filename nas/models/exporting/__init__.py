"""Trained models for use elsewhere: as ONNX, as a torch.export program, as one Python file.

Modules:
    exported: A model on its way out: as trained and as exported, and the images on which the two are compared.
    formats: Writing a trained model for use elsewhere.
    layer_trace: A network written down as a list of steps, by torch.fx, and divided into its layers.
    plain_layers: Layers of an exported model that torch has none of.
    plain_network: From a trained network to the one that is exported.
    settings: What is exported, and the formats there are.
    source_code: A trained network as one readable Python file that needs torch alone.
    source_text: How the parts of a model are written as Python: a layer's constructor, an argument, a call.
"""
