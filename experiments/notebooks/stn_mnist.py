# %% [markdown]
# # What does a spatial transformer learn to undo?
#
# The network of PyTorch's tutorial on spatial transformers, trained with the tutorial's settings and with a one-cycle
# schedule, each with the transformer and without. Then test images are deformed by known amounts: how much of that does
# the transformer undo, and what is it worth?
#
# Run it from top to bottom in its run folder. Each training keeps a checkpoint in `checkpoints/`: one that is finished
# is read back instead of being repeated, one that was stopped goes on. Remove that folder to train everything anew.

# %% parameters
data = None  # None: MNIST, or the embedded digits where it cannot be had
data_dir = None
epochs = 20
batch_size = 64
limit = None
seed = 0
seeds = 1  # how often each network is trained
precision = "float32"

# %%
from tl_keras import quiet

quiet.import_tensorflow()

from pathlib import Path

from IPython import get_ipython

from experiments.stn_mnist import NETWORKS, PAIRS, PROBED, RECIPES
from tl_keras.data import sources, splits
from tl_keras.evaluation import deformation, outcome
from tl_keras.models import stn_network
from tl_keras.reporting import conclusion, deformation_figures, deformations, figures
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe

get_ipython().run_line_magic("matplotlib", "inline")
out = RunFolder(Path())

# %% [markdown]
# ## Data
#
# MNIST has the size that the tutorial's network was made for; smaller images are scaled up.

# %%
images = sources.load(data or "mnist", data_dir, size=(28, 28), fallback=data is None)
train, test = (splits.limit(split, limit, seed) for split in (images.train, images.test))
probed = test.take(splits.drawn(len(test), PROBED))
print(f"{images.name}: {len(train):,} training and {len(test):,} test images, {len(probed):,} of them to be deformed")

# %% [markdown]
# ## The network
#
# The transformer predicts theta, an affine map, from the image, and resamples the image through it. It starts as the
# identity.

# %%
stn_network.build((28, 28, 3), len(test.class_names)).summary()

# %% [markdown]
# ## Training
#
# The tutorial's settings: gradient descent at a rate of 0.01. Ours were chosen on training images that were held out.

# %%
for name, recipe in RECIPES.items():
    print(name, recipe)


# %%
def train_one(name, seed, file_name):
    _, recipe, transformer = NETWORKS[name]
    runtime.prepare(seed, precision)
    model = stn_network.build((28, 28, 3), len(test.class_names), transformer)
    trained = loop.fit(file_name, model, train, test, Recipe(epochs, batch_size, **RECIPES[recipe], seed=seed), out)
    return model, outcome.measure(model, trained, seed, train, test, out)


networks, models = [], {}
for name, (title, _, _) in NETWORKS.items():
    trained = [
        train_one(name, number, name if number == seed else f"{name}_seed{number}")
        for number in range(seed, seed + seeds)
    ]
    models[name] = [model for model, _ in trained]
    networks.append(outcome.Network(name, title, tuple(measured for _, measured in trained)))

# %%
figures.compare({network.title: network.first.training.history for network in networks})

# %% [markdown]
# ## Test accuracy
#
# After the last epoch. The interval is Student's over the seeds, or Wilson's for the finite test set where there is one
# seed.

# %%
for network in networks:
    first = network.first
    print(
        f"{network.title:<24} test {conclusion.percent(network)}   train {first.train_accuracy:.2%}"
        f"   {first.training.seconds:6.1f} s   {first.training.trainable_parameters:,} weights trained"
    )

# %%
intervals = {network.title: network.interval() for network in networks}
figures.bars({title: (each.mean, each.low, each.high) for title, each in intervals.items()}, "test accuracy")

# %% [markdown]
# ## What the transformers do with the test images
#
# Theta taken apart into rotation, scales, shear and shifts.

# %%
with_transformer = [name for name, _ in PAIRS]
thetas = {name: stn_network.thetas(models[name][0], test.images) for name in with_transformer}
for name, theta in thetas.items():
    print(deformations.parts_table(NETWORKS[name][0], deformation.decompose(theta), test.labels).text, "\n")


# %%
def by_class(name):
    parts = deformation.decompose(thetas[name])
    groups = {"all": parts} | {
        test.class_names[label]: parts[test.labels == label] for label in sorted(set(test.labels.tolist()))
    }
    return deformation_figures.distributions(NETWORKS[name][0], groups)


def extreme_images(name):
    parts, after = deformation.decompose(thetas[name]), deformation.deform(test.images, thetas[name])
    return deformation_figures.before_after(NETWORKS[name][0], deformation_figures.extremes(test.images, after, parts))


by_class(with_transformer[0])

# %%
extreme_images(with_transformer[0])

# %%
by_class(with_transformer[1])

# %%
extreme_images(with_transformer[1])

# %% [markdown]
# ## What the transformers undo
#
# Test images are deformed by known amounts. The map of the deformation, chained with the theta that the transformer
# takes then, is compared with its theta for the undeformed image: what is gone was undone. The slope of what was undone
# on what was applied is 1 where all of it is undone, and 0 where the transformer ignores it.

# %%
responses = {
    NETWORKS[name][0]: [
        [
            deformation.undone(lambda seen, model=model: stn_network.thetas(model, seen), probed.images, kind)
            for kind in deformation.DEFORMATIONS
        ]
        for model in models[name]
    ]
    for name in with_transformer
}
print(deformations.slopes_table(responses).text)

# %%
deformation_figures.responses("What the transformer undoes", responses)

# %% [markdown]
# ## Accuracy on deformed images
#
# No network was trained on such images.

# %%
accuracies = {
    name: [deformation.accuracies(models[name][0], probed, kind) for kind in deformation.DEFORMATIONS]
    for name in NETWORKS
}
deformation_figures.accuracies(
    "Accuracy on deformed images",
    deformation.DEFORMATIONS,
    {NETWORKS[name][0]: curves for name, curves in accuracies.items()},
)

# %% [markdown]
# ## Conclusion
#
# Computed from the numbers above.

# %%
by_name = {network.name: network for network in networks}
found = [line for pair in PAIRS for line in conclusion.verdict([by_name[name] for name in pair])]
found += deformations.sentences(responses)
for name, plain in PAIRS:
    found += deformations.gains(deformation.DEFORMATIONS, NETWORKS[name][0], accuracies[name], accuracies[plain])
print(*(f"- {sentence}" for sentence in found), sep="\n")
