"""A search in a training loop of your own: the controller is asked, your code trains, the controller is told.

python own_loop.py FOLDER [QUERIES]    goes on from FOLDER/asked.pt if it is there
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from controllers.ask_tell import AskTell
from controllers.local_search import LocalSearch
from nas.models.derived import DerivedModel
from nas.models.nasbench201 import NASBench201Network
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.nasbench201 import NASBench201Space


def train(genotype: Genotype, *, steps: int = 20) -> float:
    """Trains a small network of a cell on the digits; returns its accuracy on images that it has not seen."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    network = NASBench201Network(
        genotype_candidates(genotype), in_channels=1, num_classes=10, filters=4, cells_per_stage=1
    )
    model = DerivedModel(network, genotype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        batch = slice(64 * (step % 15), 64 * (step % 15 + 1))
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return (model(images[1000:]).argmax(dim=1) == labels[1000:]).float().mean().item()


def main(folder: str, queries: str = "12") -> None:
    """Searches, and saves after each reward, so that it can be stopped at any time."""
    space, file = NASBench201Space(), Path(folder) / "asked.pt"
    controller = AskTell(LocalSearch(space.decisions), space, seed=0)
    if file.exists():
        controller.load(file)
    while len(controller.known) < int(queries) and not controller.exhausted:
        genotypes = controller.ask(1)
        controller.tell(genotypes, [train(genotype) for genotype in genotypes])
        controller.save(file)
        print(f"{len(controller.known)} cells, best accuracy {max(controller.known.values()):.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
