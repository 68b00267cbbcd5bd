// The page: images come in, cards show what the chosen models say of them.

import { Answer, copied, inPercent } from "./answer.js";
import { prepareCamera } from "./camera.js";
import { another, Chooser, ready, usable } from "./chooser.js";
import { models } from "./requests.js";

const PAUSE = 800; // milliseconds in which what is said to screen readers is gathered
const SAID = 3; // results that are read out; of more at once only the count

const element = (id) => document.getElementById(id);
const first = new Chooser(element("first"), chosen);
const second = new Chooser(element("second"), chosen);
const cards = [];
const news = [];
let listed = []; // the models of the server
let shots = 0;
let pasted = 0;

// --- models -------------------------------------------------------------------------------------

async function start() {
  element("trouble").replaceChildren();
  try {
    listed = await models();
  } catch (error) {
    return trouble(error.message);
  }
  if (!usable(listed).length) return trouble(without());
  first.fill(listed);
  second.fill(listed);
  element("choosing").hidden = element("intake").hidden = false;
  recall();
}

function without() {
  if (listed.some((model) => !ready(model))) return "No model is ready yet.";
  const others = listed.map(({ name }) => name).join(", ");
  if (others) return `No model here takes images. These are for programs only: ${others}.`;
  return "This server has no model yet.";
}

function trouble(text) {
  const words = document.createElement("p");
  words.className = "error";
  words.textContent = text;
  const again = document.createElement("button");
  again.textContent = "Try again";
  again.addEventListener("click", start);
  element("trouble").replaceChildren(words, again);
}

/** What is asked of each image: one choice, or two that are compared. */
function choices() {
  if (element("choosing").hidden) return [];
  return element("compare").checked ? [first.choice, second.choice] : [first.choice];
}

/** Take the choices from the address, which keeps them when the page is loaded again or passed on. */
function recall() {
  const said = new URLSearchParams(location.hash.slice(1));
  first.choose(said.get("model"), said.get("version"));
  const other = another(listed, first.choice);
  element("compare").disabled = !other;
  element("compare").checked = Boolean(other && said.has("with"));
  if (said.has("with")) second.choose(said.get("with"), said.get("with_version"));
  chosen();
}

function chosen() {
  const [one, two] = choices();
  element("second").hidden = !two;
  const said = new URLSearchParams({ model: one.model, version: one.version });
  if (two) said.set("with", two.model);
  if (two) said.set("with_version", two.version);
  history.replaceState(null, "", `#${said}`);
  for (const card of cards) card.show();
  if (looksForAll()) lookForAll(true);
  showStanding();
}

function compare() {
  if (element("compare").checked) {
    const other = another(listed, first.choice);
    second.choose(other.model, other.version);
  }
  chosen();
}

// --- images -------------------------------------------------------------------------------------

/** One image with its answers. */
class Card {
  #answers = new Map(); // by what was asked; they stay when something else is chosen

  constructor(name, file) {
    this.image = { name, file, address: URL.createObjectURL(file) };
    this.element = copied("card");
    this.element.querySelector("h3").textContent = name;
    this.element.querySelector(".remove .unseen").textContent = ` ${name}`;
    this.element.querySelector(".remove").addEventListener("click", () => remove(this));
    this.show();
  }

  /** The answers to what is chosen now; what is asked for the first time is asked. */
  show() {
    const keys = choices().map(({ model, version }, place) => JSON.stringify([place, model, version]));
    for (const [key, answer] of this.#answers) {
      if (keys.includes(key) || answer.settled) continue;
      answer.end();
      this.#answers.delete(key);
    }
    this.shown = choices().map((choice, place) => this.#answer(keys[place], choice));
    const place = this.element.querySelector(".answers");
    const elements = this.shown.map((answer) => answer.element);
    // What is there already stays untouched, for the focus may be in it.
    if (elements.some((each, index) => each !== place.children[index])) place.replaceChildren(...elements);
    while (place.children.length > elements.length) place.lastElementChild.remove();
  }

  /** Whether both answers name one class; null without two answers. */
  get agrees() {
    const [one, two] = this.shown.map((answer) => answer.best);
    return one && two ? one.name === two.name : null;
  }

  /** Free what the browser holds of it. */
  end() {
    for (const answer of this.#answers.values()) answer.end();
    URL.revokeObjectURL(this.image.address);
    this.element.remove();
  }

  #answer(key, choice) {
    if (!this.#answers.has(key)) {
      const answer = new Answer(this.image, choice);
      this.#answers.set(key, answer);
      answer.ask();
    }
    return this.#answers.get(key);
  }
}

function add(files, name = (file) => file.name) {
  if (!choices().length) return; // there is no model to ask
  for (const file of files) {
    const card = new Card(name(file), file);
    cards.push(card);
    element("cards").append(card.element);
  }
  showStanding();
}

function remove(card) {
  const place = cards.indexOf(card);
  cards.splice(place, 1);
  card.end();
  const neighbour = cards[place] ?? cards[place - 1];
  (neighbour?.element.querySelector(".remove") ?? element("files")).focus();
  say(`${card.image.name} removed.`);
  showStanding();
}

function removeAll() {
  const count = cards.length;
  for (const card of cards.splice(0)) card.end();
  element("files").focus();
  say(`${inWords(count)} removed.`);
  showStanding();
}

function looksForAll() {
  return element("look-all").getAttribute("aria-pressed") === "true";
}

function lookForAll(wanted) {
  element("look-all").setAttribute("aria-pressed", String(wanted));
  for (const answer of shown()) answer.look(wanted);
}

// --- how far it is ------------------------------------------------------------------------------

function shown() {
  return cards.flatMap((card) => card.shown);
}

function showStanding() {
  const answers = shown();
  const done = answers.filter((answer) => answer.settled).length;
  for (const card of cards) card.element.querySelector(".differ").hidden = card.agrees !== false;
  element("results").hidden = !cards.length;
  element("drop").classList.toggle("slim", cards.length > 0);
  element("cards").classList.toggle("comparing", choices().length > 1);
  element("progress").hidden = done === answers.length;
  element("progress").max = answers.length || 1;
  element("progress").value = done;
  element("standing").textContent = standing(answers, done);
  element("look-all").hidden = !choices().some(({ explains }) => explains);
}

function standing(answers, done) {
  if (done < answers.length) return `${done} of ${answers.length} answers are here.`;
  const failed = answers.filter((answer) => answer.trouble).length;
  const without = failed ? `, ${failed} without an answer` : "";
  const compared = cards.filter((card) => card.agrees !== null);
  if (!compared.length) return `${inWords(cards.length)}${without}.`;
  const same = compared.filter((card) => card.agrees).length;
  return `${inWords(cards.length)}${without}. Same answer for ${same} of ${compared.length}.`;
}

function answered({ target }) {
  const card = cards.find(({ element }) => element.contains(target));
  const answer = card.shown.find(({ element }) => element === target);
  if (looksForAll()) answer.look(true);
  const words = answer.best ? `${answer.best.name}, ${inPercent(answer.best.probability)}` : answer.trouble;
  const by = card.shown.length > 1 ? ` (${answer.title})` : "";
  showStanding();
  say(`${card.image.name}${by}: ${words}`);
}

/** Have a screen reader say it, together with what else happens in this moment. */
function say(text) {
  if (news.push(text) > 1) return;
  setTimeout(() => {
    const words = news.length > SAID ? [`${news.length} results.`] : news;
    element("said").textContent = [...words, element("standing").textContent].join(" ");
    news.length = 0;
  }, PAUSE);
}

function inWords(count) {
  return count === 1 ? "1 image" : `${count.toLocaleString("en")} images`;
}

// --- what people do -----------------------------------------------------------------------------

element("choosing").addEventListener("submit", (event) => event.preventDefault());
element("compare").addEventListener("change", compare);
element("files").addEventListener("change", ({ target }) => {
  add(target.files);
  target.value = ""; // so that the same file can be chosen again
});
element("cards").addEventListener("answered", answered);
element("look-all").addEventListener("click", () => lookForAll(!looksForAll()));
element("remove-all").addEventListener("click", removeAll);
prepareCamera((blob) => add([blob], () => `camera ${++shots}.jpg`));

document.addEventListener("paste", ({ clipboardData }) => {
  add(clipboardData.files, (file) => `pasted ${++pasted}.${file.type.split("/")[1] ?? "png"}`);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // the browser would leave the page and show the file
    element("drop").classList.toggle("over", kind === "dragover" || kind === "dragenter");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
addEventListener("hashchange", recall);
document.addEventListener("visibilitychange", () => document.hidden || start()); // versions come and go
start();
