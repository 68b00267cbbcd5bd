// Which model and version is asked: two lists, and a line about what was chosen.

const FEW = 12; // classes that are named

/** The models that take images. */
export function forImages(models) {
  return models.filter((model) => model.view !== null);
}

/** The lists in one fieldset. */
export class Chooser {
  #models = [];
  #model;
  #version;
  #facts;

  constructor(fieldset, changed) {
    this.#model = fieldset.querySelector("[name=model]");
    this.#version = fieldset.querySelector("[name=version]");
    this.#facts = fieldset.querySelector(".facts");
    this.#model.addEventListener("change", () => {
      this.#showVersions();
      changed();
    });
    this.#version.addEventListener("change", changed);
  }

  /** {model, version, explains}: what is chosen. */
  get choice() {
    const { explains } = this.#models.find(({ name }) => name === this.#model.value);
    return { model: this.#model.value, version: this.#version.value, explains };
  }

  /** List the models; one that cannot be tried says why. */
  fill(models) {
    this.#models = models;
    this.#model.replaceChildren(
      ...models.map((model) => {
        const why = model.view === null ? "takes no images" : ready(model) ? "" : "not ready";
        return option(model.name, why ? `${model.name} (${why})` : model.name, Boolean(why));
      }),
    );
    this.choose();
  }

  /** Choose a model and version; where they are not there, the first model and its newest version. */
  choose(name, version) {
    const usable = this.#models.filter((model) => model.view !== null && ready(model));
    this.#model.value = (usable.find((model) => model.name === name) ?? usable[0]).name;
    this.#showVersions(version);
  }

  #showVersions(wanted) {
    const model = this.#models.find(({ name }) => name === this.#model.value);
    this.#version.replaceChildren(
      ...model.versions.map(({ version, state, labels }) => {
        const notes = state === "AVAILABLE" ? labels : [state.toLowerCase()];
        return option(version, [version, ...notes].join(", "), state !== "AVAILABLE");
      }),
    );
    const usable = model.versions.filter(({ state }) => state === "AVAILABLE").map(({ version }) => version);
    this.#version.value = usable.includes(wanted) ? wanted : usable[0];
    this.#facts.textContent = facts(model);
  }
}

/**
 * What to compare a choice with at first: the next older version, else the next newer, else another model, else null.
 */
export function another(models, { model: name, version }) {
  const usable = forImages(models).filter(ready);
  const versions = usable
    .find((model) => model.name === name)
    .versions.filter(({ state }) => state === "AVAILABLE")
    .map((each) => each.version);
  const place = versions.indexOf(version);
  const next = versions[place + 1] ?? versions[place - 1];
  if (next) return { model: name, version: next };
  const other = usable.find((model) => model.name !== name);
  return other ? { model: other.name, version: undefined } : null;
}

/** Whether a version of a model can be asked. */
export function ready(model) {
  return model.versions.some(({ state }) => state === "AVAILABLE");
}

function facts({ classes, view }) {
  const [height, width] = view.size;
  const sees = `It sees ${width} × ${height} pixels${view.channels === 1 ? " in grey" : ""}`;
  if (!classes) return `${sees}.`;
  const named = classes.length > FEW ? `${classes.slice(0, FEW).join(", ")}, …` : classes.join(", ");
  return `${sees} and tells ${classes.length.toLocaleString("en")} classes apart: ${named}`;
}

function option(value, text, disabled) {
  const made = new Option(text, value);
  made.disabled = disabled;
  return made;
}
