"""Images in, batches out: data sets by name, their splits, augmentation on the device.

Modules:
    augmentation: Normalisation, random augmentation and CutMix of a whole batch at once, on its device.
    decoding: Image files decoded by worker processes that live as long as they are of use.
    image_data: A data set ready for a search: its splits, their normalisation, and a record of what was held out.
    image_files: How a file of any kind becomes the bytes of one image, and which part of a picture that shows.
    named: Data sets by name: one function each, which the config names by `_target_`.
    npz: Data sets read from files into plain arrays.
    own_images: A user's own images as a data set: arrays in an .npz file, or files in folders.
    splits: Splits of a data set, which yield batches to a training loop.
    stratified_split: Division of a data set into images for training, for rewards and for the test.
"""
