// What one version of a model says of one image: its classes, and on demand where it looked.

import { curlLine, explain, predict } from "./requests.js";

const BEST = 5; // classes shown at first
const SMALL = 96; // pixels below which an image is enlarged with its pixels to be seen

const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** A copy of what the template with this id holds. */
export function copied(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** One answer: `element` shows it, and sends the event "answered" once there is one, or none to be had. */
export class Answer {
  #image; // {name, file, address}
  #choice; // {model, version, explains}
  #ending = new AbortController();
  #classes = null; // [{index, name, probability}], the most probable first
  #all = false; // whether all classes are shown
  #overlays = new Map(); // by the index of a class
  #looking = false;

  /** Whether the server has answered, or refused. */
  settled = false;

  constructor(image, choice) {
    this.#image = image;
    this.#choice = choice;
    this.element = copied("answer");
    this.#part(".of").textContent = this.title;
    this.#part("code").textContent = curlLine(choice, image.name);
    this.#showPhoto();
    this.#part("img").addEventListener("load", ({ target }) => {
      target.classList.toggle("small", Math.max(target.naturalWidth, target.naturalHeight) < SMALL);
    });
    this.#part("img").addEventListener("error", () => this.#part(".frame").classList.add("none"));
    this.#on(".again", () => this.ask());
    this.#on(".more", () => this.#showClasses(!this.#all));
    this.#on(".copy", () => this.#copy());
    this.#on(".look", () => this.look(!this.#looking));
    this.#part(".looked select").addEventListener("change", () => this.look(true));
  }

  /** Who answers: "ants_bees, version 2". */
  get title() {
    return `${this.#choice.model}, version ${this.#choice.version}`;
  }

  /** The most probable class: {index, name, probability}; null without an answer. */
  get best() {
    return this.#classes?.[0] ?? null;
  }

  /** Why there is no answer, or an empty text. */
  get trouble() {
    return this.#part(".failed").hidden ? "" : this.#part(".failed .error").textContent;
  }

  /** Ask the server, and show what it says. */
  async ask() {
    const asksAgain = this.#part(".failed").contains(document.activeElement);
    this.settled = false;
    this.#show("waiting");
    if (asksAgain) this.#focus(".waiting");
    try {
      this.#classes = await predict(this.#choice, this.#image.file, this.#ending.signal);
      this.#showClasses(false);
      this.#part(".looked select").replaceChildren(...this.#classes.map(({ name, index }) => new Option(name, index)));
      this.#part(".look").hidden = !this.#choice.explains;
      this.#show("told");
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.#part(".failed .error").textContent = error.message;
      this.#part(".again").hidden = error.again === false;
      this.#show("failed");
    }
    this.settled = true;
    this.element.dispatchEvent(new CustomEvent("answered", { bubbles: true }));
  }

  /** Show where the network looked for the class that is chosen, or the photograph again. */
  async look(wanted) {
    if (!this.#choice.explains || !this.#classes) return;
    this.#looking = wanted;
    this.#part(".look").setAttribute("aria-pressed", String(wanted));
    this.#part(".looked").hidden = !wanted;
    this.#part(".looking").hidden = true;
    if (!wanted) return this.#showPhoto();
    const index = Number(this.#part(".looked select").value);
    this.#part(".frame").setAttribute("aria-busy", "true");
    try {
      if (!this.#overlays.has(index)) {
        this.#overlays.set(index, await explain(this.#choice, this.#image.file, index, this.#ending.signal));
      }
      if (this.#isLookedFor(index)) this.#showOverlay(index);
    } catch (error) {
      if (this.#ending.signal.aborted || !this.#isLookedFor(index)) return;
      await this.look(false);
      this.#part(".looking").textContent = error.message;
      this.#part(".looking").hidden = false;
    }
  }

  /** Stop asking: nobody will look at this any more. */
  end() {
    this.#ending.abort();
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #on(selector, act) {
    this.#part(selector).addEventListener("click", act);
  }

  #focus(selector) {
    this.#part(selector).tabIndex = -1;
    this.#part(selector).focus();
  }

  /** Show one of the three: waiting, failed, told; focus on what goes moves to what comes. */
  #show(state) {
    const focused = this.#part(".words").contains(document.activeElement);
    for (const each of ["waiting", "failed", "told"]) this.#part(`.${each}`).hidden = each !== state;
    this.#part(".curl").hidden = state !== "told";
    if (focused && state !== "waiting") this.#focus(`.${state}`);
  }

  #showPhoto() {
    this.#picture(this.#image.address, this.#image.name);
  }

  #showOverlay(index) {
    const { name } = this.#classes.find((each) => each.index === index);
    this.#picture(this.#overlays.get(index), `${this.#image.name}: what spoke for ${name}`);
  }

  #picture(address, words) {
    this.#part(".frame").classList.remove("none");
    this.#part(".frame").removeAttribute("aria-busy");
    this.#part("img").alt = words;
    this.#part("img").src = address;
  }

  #isLookedFor(index) {
    return this.#looking && Number(this.#part(".looked select").value) === index;
  }

  #showClasses(all) {
    this.#all = all;
    const count = this.#classes.length;
    this.#part(".classes").replaceChildren(...this.#classes.slice(0, all ? count : BEST).map(line));
    this.#part(".more").hidden = count <= BEST;
    this.#part(".more").textContent = all ? `Only the best ${BEST}` : `All ${count.toLocaleString("en")} classes`;
    this.#part(".more").setAttribute("aria-expanded", String(all));
  }

  async #copy() {
    const button = this.#part(".copy");
    try {
      await navigator.clipboard.writeText(this.#part("code").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.#part("code")); // the clipboard is for pages that came by https
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => (button.textContent = "Copy"), 3000);
  }
}

/** "97.3%", as all probabilities are shown. */
export function inPercent(probability) {
  return percent.format(probability);
}

function line({ name, probability }) {
  const item = copied("class");
  item.querySelector(".name").textContent = name;
  item.querySelector(".percent").textContent = inPercent(probability);
  item.querySelector(".bar").style.width = `${100 * probability}%`;
  return item;
}
