"""Made-up trees of Tiny ImageNet's layout, in a folder and in a .zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n03444034", "n01443537", "n02124075")
# Sorted by name, as the images of a class are.
TRAIN = {"n03444034": (0, 1, 10, 2), "n01443537": (0, 3), "n02124075": (5, 7, 9)}
TEST = (("val_2.JPEG", "n02124075"), ("val_0.JPEG", "n01443537"), ("val_1.JPEG", "n02124075"))


def jpeg(seed: int, mode: str = "RGB", size: tuple[int, int] = (64, 64), quality: int = 90) -> bytes:
    """A smooth random image, so that images differ by more than what the compression loses."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=quality)
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def files() -> dict[str, bytes]:
    """Path to content of every file of a tree; one image of each part is greyscale."""
    tree = {
        "wnids.txt": "".join(f"{name}\n" for name in CLASSES).encode(),
        "words.txt": b"n00001740\tentity\nn02124075\tEgyptian cat\nn01443537\tgoldfish, Carassius auratus\n",
        "val/val_annotations.txt": "".join(
            f"{image}\t{name}\t0\t32\t44\t62\n" for image, name in TEST
        ).encode(),
    }
    for label, (name, numbers) in enumerate(TRAIN.items()):
        tree[f"train/{name}/{name}_boxes.txt"] = b"n01443537_0.JPEG\t0\t10\t63\t58\n"
        for number in numbers:
            mode = "L" if number == 10 else "RGB"
            tree[f"train/{name}/images/{name}_{number}.JPEG"] = jpeg(100 * label + number, mode)
    for number in range(3):
        tree[f"val/images/val_{number}.JPEG"] = jpeg(1000 + number, "L" if number == 0 else "RGB")
        tree[f"test/images/test_{number}.JPEG"] = jpeg(2000 + number)
    return tree


def expected(tree: Mapping[str, bytes]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of the training and the test pool."""
    train = [
        (tree[f"train/{name}/images/{name}_{number}.JPEG"], label)
        for label, (name, numbers) in enumerate(TRAIN.items())
        for number in numbers
    ]
    test = [(tree[f"val/images/{image}"], CLASSES.index(name)) for image, name in TEST]
    return {
        part: (np.stack([pixels(content) for content, _ in chosen]), np.array([label for _, label in chosen]))
        for part, chosen in (("train", train), ("tiny_imagenet", test))
    }


def write_folder(root: Path, tree: Mapping[str, bytes]) -> Path:
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, tree: Mapping[str, bytes], prefix: str = "tiny-imagenet-200/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(prefix + name, content)
    return path
