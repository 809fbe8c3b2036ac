"""Weights move: one step, one epoch, one training.

Modules:
    autosave: Checkpoints of a loop: now and then, at its end, and before it stops because somebody asked it to.
    evaluation: Scores of a network without training it, and of the steps of an epoch.
    member: One training of one cell to its end: its state, its epochs and its checkpoints (arXiv:1812.02975, §IV-A).
    schedules: Schedules of the learning rate.
    settings: Settings of training: of weights in a search and afterwards, and of retraining.
    sgd: SGD as ENAS has it: Nesterov momentum, gradients clipped tensor by tensor.
    step: One step of training, to be read from top to bottom.
    weight_average: The mean of a network's weights along a training, exponentially weighted, kept on the device.
    weight_trainer: Training the weights of a network, one epoch at a time: shared weights and derived models.
"""
