"""The machine: device and number format, CUDA graphs, several processes, clocks.

Modules:
    cuda_graphs: Work recorded once and replayed.
    device: The machine a run happens on: device, threads and number format.
    distributed/: Processes that train one network together, as torchrun starts them.
    environment: A record of what a run happened in: machine, versions, code.
    settings: Settings of the machine's use: threads, number format, compilation.
    stopping: Signals that ask a process to stop: Ctrl-C, and SIGTERM from a scheduler.
    timing: Timing pieces of work side by side, in turns, so that a drifting machine hits all alike.
    worker_pool: A pool of worker processes for independent tasks.
"""
