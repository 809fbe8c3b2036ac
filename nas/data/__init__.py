"""Images in, batches out: data sets by name, their splits, augmentation on the device.

Modules:
    augmentation: Normalisation and random augmentation of a whole batch at once, on the device that holds it.
    cropping: Which part of a picture becomes an image.
    cutmix: CutMix on a whole batch at once, on its device.
    decoding: Image files decoded by worker processes that live as long as they are of use.
    image_data: A data set ready for a search: its splits, their normalisation, and a record of what was held out.
    image_files: Image folders: which files belong to which class.
    named: Data sets by name: one function each, which the config names by `_target_`.
    npz: Data sets read from files into plain arrays.
    own_images: A user's own images as a data set: arrays in an .npz file, or files in folders.
    splits: What a training loop sees of a data set.
    stratified_split: Which images train the weights, which reward the controller, and which are kept for the test.
    streaming: A split whose images stay in files: workers decode them, the device normalises and augments them.
"""
