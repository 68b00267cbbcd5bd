"""CS5304, assignment 3: one network of torchvision, trained by feature extraction and by fine-tuning.

    python assign3.py

Feature extraction trains a new last layer on fixed features (model_ft); fine-tuning trains the other layers as well
(model_cnn). The work is done in Keras; the weights are written as state dicts of torchvision's network, beside this
file. Needs tl_keras, its extras torch and, for the ResNets, kerashub. A training that was stopped goes on.
"""

from pathlib import Path

from tl_keras.data import sources, splits
from tl_keras.data.augment import FlipShift
from tl_keras.export import torch_bridge
from tl_keras.models import backbones, heads
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import strategies

DATA = "tiny-imagenet-5"  # a path, or a name in $TL_KERAS_DATA
BACKBONE = "vgg16"
WEIGHTS = "imagenet"
EPOCHS = 50
BATCH_SIZE = 32
RECIPES = dict[str, dict]()  # learning rate at its peak, optimizer, weight decay and bound of each approach
STRATEGY = "full"  # which layers fine-tuning trains
STAGES = 1
BATCH_NORM = "trained"  # by fine-tuning; or "frozen"
VIEWS = 4  # augmented versions of each image whose features are computed
LIMIT = None
SEED = 0

HERE = Path(__file__).resolve().parent


def load():
    """Training and validation images, 224 by 224 pixels."""
    images = sources.load(DATA, size=(224, 224))
    return images.name, *(splits.limit(split, LIMIT, SEED) for split in (images.train, images.test))


def train(name, strategy, views, batch_norm="frozen"):
    """Train a network from the weights that it has, by one approach, and write its state dict."""
    data, training_images, validation_images = load()
    runtime.prepare(SEED)
    # The output layer is replaced by a new one, as wide as there are classes.
    model = heads.with_softmax(backbones.build(BACKBONE, len(training_images.class_names), WEIGHTS))
    loop.fit(
        name,
        model,
        training_images,
        validation_images,
        Recipe(EPOCHS, BATCH_SIZE, **RECIPES[name], views=views, seed=SEED),
        RunFolder(HERE / "training"),
        augment=FlipShift(flip=data not in ("digits", "mnist")),
        phases=strategies.find(strategy, STAGES, batch_norm == "trained").phases,
    )
    torch_bridge.save_state_dict(model, HERE / name)


if __name__ == "__main__":
    # Feature extraction: all layers but the last are frozen, so their outputs are computed once for each view.
    train("model_ft", strategy="last_layer", views=VIEWS)
    # Fine-tuning: the other layers are trained as well, on a new view of each image in every epoch.
    train("model_cnn", strategy=STRATEGY, views=None, batch_norm=BATCH_NORM)
