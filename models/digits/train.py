"""Train the digit classifier and write what the recipe needs: weights, samples, calibration digits.

    python models/digits/train.py [--digits digits.csv.gz] [--out FOLDER]

The same weights come out whatever the processor: bit for bit with AVX-512, with AVX2 and with neither. Training
amplifies the last bit that two processors round differently until nothing agrees, seeds or not; so it runs in
float64, and after every step the weights are rounded to a grid much coarser than such a bit, and much finer than
what matters to the network.

Takes some ten seconds on one core; needs torch and numpy, and scikit-learn for the data, or only its file
sklearn/datasets/data/digits.csv.gz.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from digits import Digits, digits
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SEED = 2024
EPOCHS = 12
BATCH = 32
GRID = 2.0**-16
SURE = 0.9  # least probability of the digits that become sample pictures
MEASURED = 10  # digits of each class on which the ranges of integer models are measured


def main() -> None:
    """Train, store and report."""
    parser = argparse.ArgumentParser(description="Train the digit classifier.")
    parser.add_argument("--digits", type=Path, help="the data as digits.csv.gz; default: scikit-learn's own")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for weights and samples")
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    pictures, labels = read(options.digits)
    held = held_out(labels)
    model = train(tensor(pictures[~held]), torch.from_numpy(labels[~held]))
    store(model, options.out, pictures[held], labels[held])
    store_calibration(options.out, pictures[~held], labels[~held])


def read(file: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures (count, 8, 8) as bytes and their labels (count,)."""
    if file:
        table = np.loadtxt(file, delimiter=",")
    else:
        from sklearn.datasets import load_digits

        data = load_digits()
        table = np.column_stack((data.data, data.target))
    pictures = np.round(table[:, :64] * (255 / 16)).astype(np.uint8)  # the data has 17 levels, a PNG 256
    return pictures.reshape(-1, 8, 8), table[:, 64].astype(np.int64)


def held_out(labels: np.ndarray) -> np.ndarray:
    """Return a mask of a fifth of the digits of each class, drawn from the seed."""
    random = torch.Generator().manual_seed(SEED)
    held = np.zeros(len(labels), bool)
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        order = torch.randperm(len(rows), generator=random).numpy()
        held[rows[order[: round(len(rows) / 5)]]] = True
    return held


def tensor(pictures: np.ndarray) -> Tensor:
    """Return pictures as the network takes them: (count, 1, 8, 8), 0 to 1, float32."""
    return torch.from_numpy(pictures[:, None].astype(np.float32) / np.float32(255))


def train(pictures: Tensor, labels: Tensor) -> Digits:
    """Train a network in float64 and return it in float32."""
    torch.manual_seed(SEED)
    model = digits()
    snap(model.parameters())
    batches = -(-len(labels) // BATCH)
    optimiser = torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(len(labels)).split(BATCH):
            loss = nn.functional.cross_entropy(model.logits(pictures[rows].double()), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            snap(model.parameters())
            total += loss.item() / batches
        print(f"epoch {epoch + 1:2d} of {EPOCHS}   loss {total:.4f}", flush=True)
    snap(model.buffers())
    return model.float().eval()


@torch.no_grad()
def snap(tensors: Iterable[Tensor]) -> None:
    """Round to multiples of GRID; float32 holds them exactly."""
    for values in tensors:
        values.copy_((values / GRID).round() * GRID)


@torch.no_grad()
def store(model: Digits, folder: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    """Write the weights, the held-out digits, and a picture of the first of each kind that is well recognised."""
    inputs = tensor(pictures)
    probabilities = model(inputs).numpy()
    right = probabilities.argmax(1) == labels
    sure = right & (probabilities.max(1) > SURE)
    samples = folder / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "digits.pt")
    np.savez_compressed(samples / "heldout.npz", input=inputs.numpy(), label=labels)
    for digit in range(10):
        first = np.flatnonzero(sure & (labels == digit))[0]
        (samples / f"{digit}.png").write_bytes(png(pictures[first]))
    print(f"accuracy {right.mean():.4f} on {len(labels)} held-out digits")


def store_calibration(folder: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    """Write the first digits of each class that the network was trained on: those that are held out judge it."""
    rows = np.concatenate([np.flatnonzero(labels == digit)[:MEASURED] for digit in range(10)])
    (folder / "calibration").mkdir(exist_ok=True)
    np.savez_compressed(folder / "calibration" / "training.npz", input=tensor(pictures[rows]).numpy())


def png(picture: np.ndarray) -> bytes:
    """Return a grey picture, bytes (height, width), as a PNG file (https://www.w3.org/TR/png-3/)."""
    height, width = picture.shape
    lines = b"".join(b"\0" + line.tobytes() for line in picture)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


if __name__ == "__main__":
    main()
