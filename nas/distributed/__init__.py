"""Processes that train one network together, as torchrun starts them."""
