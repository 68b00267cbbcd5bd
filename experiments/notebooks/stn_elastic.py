# %% [markdown]
# # Does a spatial transformer learn to undo elastic deformations and a zoom-out?
#
# Every image comes three times: as it is, elastically deformed, and zoomed out by 4. The network of PyTorch's tutorial
# is trained on all of them, with its transformer and without ("plain"). Then the question: how much of each deformation
# does the transformer undo?
#
# Run it from top to bottom in its run folder. Each training keeps a checkpoint in `checkpoints/`: one that is finished
# is read back instead of being repeated, one that was stopped goes on. Remove that folder to train everything anew.

# %% parameters
data = None  # None: MNIST, or the embedded digits where it cannot be had
data_dir = None
epochs = 10
batch_size = 64
limit = None  # images of each split before they are deformed
seed = 0
seeds = 1  # how often each network is trained
precision = "float32"

# %%
from tl_keras import quiet

quiet.import_tensorflow()

from pathlib import Path

import numpy as np
from IPython import get_ipython

from experiments import stn_elastic as study
from tl_keras.evaluation import deformation, outcome
from tl_keras.models import stn_network
from tl_keras.reporting import conclusion, deformation_figures, elastic, elastic_figures, figures
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe

get_ipython().run_line_magic("matplotlib", "inline")
out = RunFolder(Path())
settings = study.Settings(
    data=data, data_dir=data_dir, epochs=epochs, batch_size=batch_size, limit=limit, seed=seed, seeds=seeds,
    precision=precision,
)  # fmt: skip

# %% [markdown]
# ## Data
#
# The deformed copies were made once and are read from the disk. Each elastic field follows from the seed and the number
# of its image, so it is known afterwards.

# %%
images = study.load(settings)
train, test = images.train, images.test
thirds = study.thirds(len(test))
print(f"{images.name}: {len(train):,} training and {len(test):,} test images")
print("\n".join(f"{part}: {made}" for part in ("train", "test") for made in study.deformations(settings, part)))

# %%
shown = [test.images[rows][number] for rows in thirds.values() for number in range(6)]
labels = [test.labels[rows][number] for rows in thirds.values() for number in range(6)]
figures.samples(
    np.array(shown), labels, labels, [1.0] * len(shown), test.class_names, "As they are, elastic, zoomed out"
)

# %% [markdown]
# ## The network
#
# The transformer predicts theta, an affine map, from the image, and resamples the image through it. It starts as the
# identity.

# %%
stn_network.build((*study.IMAGE_SIZE, 3), len(test.class_names)).summary()

# %% [markdown]
# ## Training


# %%
def train_one(name, number):
    runtime.prepare(number, precision)
    model = stn_network.build((*study.IMAGE_SIZE, 3), len(test.class_names), study.NETWORKS[name][1])
    file_name = name if number == seed else f"{name}_seed{number}"
    watched = {third: test.take(rows) for third, rows in thirds.items()}
    recipe = Recipe(epochs, batch_size, **study.RECIPE, seed=number)
    trained = loop.fit(file_name, model, train, test, recipe, out, watched=watched)
    return model, outcome.measure(model, trained, number, train, test, out)


networks, models = [], {}
for name, (title, _) in study.NETWORKS.items():
    trained = [train_one(name, number) for number in range(seed, seed + seeds)]
    models[name] = [model for model, _ in trained]
    networks.append(outcome.Network(name, title, tuple(measured for _, measured in trained)))

# %%
histories = {network.title: network.first.training.history for network in networks}
elastic_figures.accuracy_by_epoch(histories, list(thirds))

# %% [markdown]
# ## Test accuracy
#
# After the last epoch, on each kind of image.

# %%
print(elastic.accuracy_table(networks, thirds).text)

# %% [markdown]
# ## What the transformer does
#
# Images before and after it, and the parts of theta, for the same images as they were, elastic and zoomed out.

# %%
chosen = {name: test.images[rows][study.probed(len(test))] for name, rows in thirds.items()}
thetas = {name: stn_network.thetas(models["stn"][0], each) for name, each in chosen.items()}
rows = {elastic_figures.shown(name): elastic.pairs(chosen[name], thetas[name]) for name in chosen}
deformation_figures.before_after("Before and after the transformer", rows)

# %%
groups = {elastic_figures.shown(name): deformation.decompose(theta) for name, theta in thetas.items()}
deformation_figures.distributions("Theta for each kind of image", groups)

# %% [markdown]
# ## What the transformer undoes
#
# Only the response counts: theta for a deformed image against theta for the same image as it was. What is left of an
# elastic field stands beside what the best affine map leaves of it, by weighted least squares.

# %%
undone = [study.measure(model, settings, test) for model in models["stn"]]
print(elastic.undone_table(undone).text)

# %%
moved = study.fields(settings, len(test))
elastic_figures.fields(chosen["elastic"], moved, undone[0].elastic, range(4))

# %%
elastic_figures.followed("What the transformer does about each part of an elastic field", undone[0].elastic)

# %% [markdown]
# ## Conclusion
#
# Computed from the numbers above.

# %%
found = conclusion.verdict(networks) + elastic.accuracy_sentences(networks, thirds)
found += elastic.undone_sentences(undone, study.ZOOM)
print(*(f"- {sentence}" for sentence in found), sep="\n")
