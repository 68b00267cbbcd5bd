// Which model and version is asked: two lists, and a line about what was chosen.

const FEW = 12; // classes that are named

/** The models that can be tried now: a version answers, and it takes images. */
export function usable(models) {
  return models.filter((model) => ready(model) && model.view !== null);
}

/** Whether a version of a model answers. */
export function ready(model) {
  return model.versions.some(({ state }) => state === "AVAILABLE");
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
        const why = !ready(model) ? "not ready" : model.view === null ? "takes no images" : ""; // unread, it has no view
        return option(model.name, why ? `${model.name} (${why})` : model.name, Boolean(why));
      }),
    );
    this.choose();
  }

  /** Choose a model and version; where they are not there, the first model and its newest version. */
  choose(name, version) {
    const models = usable(this.#models);
    this.#model.value = (models.find((model) => model.name === name) ?? models[0]).name;
    this.#showVersions(version);
  }

  #showVersions(wanted) {
    const model = this.#models.find(({ name }) => name === this.#model.value);
    this.#version.replaceChildren(
      ...model.versions.filter(({ state }) => state !== "END").map(({ version, state, labels }) => {
        const notes = state === "AVAILABLE" ? labels : [state.toLowerCase()];
        return option(version, [version, ...notes].join(", "), state !== "AVAILABLE");
      }),
    );
    const versions = answering(model);
    this.#version.value = versions.includes(wanted) ? wanted : versions[0];
    this.#facts.textContent = facts(model);
  }
}

/**
 * What to compare a choice with at first: the next older version, else the next newer, else another model, else null.
 */
export function another(models, { model: name, version }) {
  const versions = answering(models.find((model) => model.name === name));
  const place = versions.indexOf(version);
  const next = versions[place + 1] ?? versions[place - 1];
  if (next) return { model: name, version: next };
  const other = usable(models).find((model) => model.name !== name);
  return other ? { model: other.name, version: undefined } : null;
}
function answering({ versions }) {
  return versions.filter(({ state }) => state === "AVAILABLE").map(({ version }) => version);
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
