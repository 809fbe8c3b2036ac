"""A trained network made ready for inference without changing its function.

Modules:
    batch_norm_folding: Folding batch norm into the convolution before it, for inference.
    channel_orders: Putting the channels between the modules of a network into other orders, exactly, by permuting ...
    channel_placement: Choosing in which order every tensor's channels lie, so that what is read together lies ...
    ready: Making a trained network ready for inference.
"""
