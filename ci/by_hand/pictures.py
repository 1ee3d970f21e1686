"""Prepare samples as one would type it: pictures.py OUT HEIGHT CHANNELS FILE...

Each picture is letterboxed into a square; .npz files give their rows. Two random samples and a batch of four follow.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

out, side, channels, *files = sys.argv[1:]
size = int(side)
samples = []
for file in files:
    if file.endswith(".npz"):
        rows = np.load(file)["input"]
        samples += [rows[index:index + 1] for index in range(len(rows))]
        continue
    picture = cv2.imread(file, cv2.IMREAD_COLOR if channels == "3" else cv2.IMREAD_GRAYSCALE)
    scale = size / max(picture.shape[:2])
    height, width = (round(length * scale) for length in picture.shape[:2])
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    canvas = np.full((size, size, int(channels)), 114, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top:top + height, left:left + width] = resized[..., ::-1]
    samples.append(np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32) / 255)
random = np.random.default_rng(0)
samples += [random.random(samples[0].shape, np.float32) for _ in range(2)]
samples.append(np.concatenate(samples[:4]))
np.savez(out, *samples)
