"""Training one derived model to its end, with checkpoints on the way."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from nas.compute.device import Runtime
from nas.compute.distributed.batch_norms import check_norms
from nas.data.named import ImageData, check_batches
from nas.runs.checkpoints import load_checkpoint
from nas.training.autosave import Saves
from nas.training.member import Member, MemberTraining
from nas.training.settings import RetrainSettings

TIMES = ("seconds", "compile_seconds")  # of a row, each rank having its own


def train_member(
    member: Member,
    network: nn.Module,
    *,
    data: ImageData,
    settings: RetrainSettings,
    runtime: Runtime,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Trains a derived model on `data.full`, or goes on where its checkpoint stands.

    Args:
        member: What is trained.
        network: Its model with initial weights, trained in place; with `settings.ema` it ends with the means of them,
            which are also what is tested.
        data: Trained on `full`; `test` is only looked at.
        settings: The protocol.
        runtime: Number format.
        checkpoint: File of the state in between.
        on_epoch: Called with each epoch's row.

    Raises:
        ValueError: If a setting does not fit the images, the checkpoint is of another cell, or the training diverged.
        Stopped: If the process was asked to stop; the state is saved.

    Returns:
        One row an epoch: label, seed, epoch, learning rate, loss, train and test accuracy in [0, 1], seconds. With
        learned mixers also their distance from permutations and, in the epoch that begins with hardening them, the test
        accuracy just before and after it; in an epoch that compiled the network, how many seconds that took; in one
        that skipped steps, how many.
    """
    check_batches(data, split="full", where="retrain", batch_size=settings.batch_size, cutout=settings.cutout)
    ranks = runtime.ranks
    check_norms(network, ranks)
    ranks.copy_first(network)
    training = MemberTraining(member=member, network=network, data=data, settings=settings, runtime=runtime)
    state = ranks.from_first(lambda: load_checkpoint(checkpoint))
    if state is not None:
        if state["genotype"] != member.record:
            raise ValueError(f"{checkpoint} is of another cell than {member.label} now; choose another run name")
        training.load_state_dict(state)
    with Saves(checkpoint, training.state_dict, seconds=settings.checkpoint_seconds, ranks=ranks) as saves:
        while not training.finished:
            row = training.epoch()
            ranks.check_agreement({**row, **dict.fromkeys(TIMES)}, on=f"epoch {row['epoch']}")
            on_epoch(row)
            saves.reached(last=training.finished)
    training.finish()
    return training.rows


def final_accuracy(rows: Sequence[dict[str, Any]], *, last_epochs: int) -> float:
    """Returns the test accuracy in the paper's way: the mean over the last epochs (§IV-B)."""
    return statistics.fmean(row["test_accuracy"] for row in rows[-last_epochs:])
