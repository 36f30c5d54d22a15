"""What a cosine means in a space: the scale and bias of its training, declared or read from its weights."""

import math
from typing import Literal

from safetensors import SafetensorError, safe_open

from connector.errors import ModelError
from connector.models.catalog import find_space, image_tower_of
from connector.models.lookup import find_model
from connector.models.weights import module_folders, weight_files
from connector.settings import ModelSettings

MOST = 100.0
"""Of what a model can have learned: exp(100) is no scale, and no bias is larger."""


def score_scale(model: ModelSettings) -> float:
    """What cosines are multiplied by before a softmax or sigmoid. Raises ModelError where the weights do not say it."""
    declared = find_space(model.space).score.scale
    return math.exp(_learned(model, "logit_scale")) if declared == "weights" else declared


def score_bias(model: ModelSettings) -> float:
    """What is added to the scaled cosine; it cancels in a softmax. Raises ModelError as ``score_scale`` does."""
    declared = find_space(model.space).score.bias
    return _learned(model, "logit_bias") if declared == "weights" else declared


def _learned(model: ModelSettings, name: Literal["logit_scale", "logit_bias"]) -> float:
    tower = image_tower_of(model, space=find_space(model.space))
    folder = find_model(tower)
    for file in weight_files(module_folders(folder)[0], name=tower.weights):
        try:
            with safe_open(file, framework="pt") as opened:  # numpy has no bfloat16
                if name not in opened.keys():  # noqa: SIM118  (it is no mapping)
                    continue
                found = float(opened.get_tensor(name).float().item())
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelError(f"{file} cannot be read: {name}: {error}. Fetch the model again.") from error
        if not abs(found) < MOST:
            raise ModelError(f"the weights in {folder} have {name} = {found}; declare it as a number under [score].")
        return found
    raise ModelError(f"the weights in {folder} have no {name}; declare it as a number under [score].")
