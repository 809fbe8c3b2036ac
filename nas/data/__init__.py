"""Images in, batches out: data sets by name, their splits, augmentation on the device.

Modules:
    augmentation: Normalisation and random augmentation of a whole batch at once, on the device that holds it.
    cropping: Which part of a picture becomes an image.
    cutmix: CutMix on a whole batch at once, on its device.
    decoding: Image files decoded by worker processes that live as long as they are of use.
    image_data: A data set ready for a search.
    image_files: Image folders: which files belong to which class, and how a file of any kind becomes the bytes of ...
    named: Data sets by name: one function each, which the config names by `_target_`.
    npz: Data sets read from files into plain arrays.
    own_images: A user's own images as a data set.
    splits: What a training loop sees of a data set.
    stratified_split: Which images train the weights, which reward the controller, and which are kept for the test.
    streaming: A split whose images stay in files.
"""
