"""What a config may call an objective; what each is, is in ``objectives``, which takes long to load."""

from typing import Literal

ObjectiveName = Literal["loss", "accuracy", "mse", "average_precision"]
