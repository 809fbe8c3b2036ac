"""A trained network made ready for inference without changing its function.

Modules:
    batch_norm_folding: Folding batch norm into the convolution before it, for inference.
    channel_orders: Putting the channels between the modules of a network into other orders, exactly.
    channel_placement: Choosing in which order every tensor's channels lie.
    ready: Making a trained network ready for inference.
"""
