// What the page asks the server: the models, what an image is, and where the network looked.

const AT_A_TIME = 3; // requests; the others wait, so that the first answers come soon
const PATIENCE = 120_000; // milliseconds
const LARGE = 8 * 2 ** 20; // bytes from which a broken connection may mean that the file was too large

/** Why there is no answer, in words to be shown; `again` where asking again may help. */
export class Refused extends Error {
  constructor(message, again) {
    super(message);
    this.again = again;
  }
}

/** The models of the server, as `GET /v1/models` lists them. */
export async function models() {
  return (await ask("v1/models", {})).models;
}

/**
 * The classes of an image, the most probable first: [{index, name, probability}].
 * `choice` is {model, version}; the file travels as it is.
 */
export function predict(choice, file, signal) {
  return inTurn(signal, async () => {
    if (file.type && !file.type.startsWith("image/")) throw new Refused(`This is no image but ${file.type}.`, false);
    const { predictions } = await post(choice, "predict", { instances: [{ b64: await base64(file) }] }, file, signal);
    const { class_names: names, probabilities } = predictions[0];
    return names
      .map((name, index) => ({ index, name, probability: probabilities[index] }))
      .sort((one, other) => other.probability - one.probability);
  });
}

/** The address of a picture that shows what spoke for the class with this index. */
export function explain(choice, file, index, signal) {
  return inTurn(signal, async () => {
    const body = { instances: [{ b64: await base64(file) }], class_index: index };
    const { explanations } = await post(choice, "explain", body, file, signal);
    return `data:image/png;base64,${explanations[0].overlay}`;
  });
}

/** A line for a shell that asks what `predict` asks, about the file `name` in the current folder. */
export function curlLine(choice, name) {
  const image = `"$(base64 < ${quoted(name)} | tr -d '\\n')"`;
  const address = quoted(new URL(path(choice, "predict"), document.baseURI).href);
  return `printf '{"instances": [{"b64": "%s"}]}' ${image} | curl -H 'Content-Type: application/json' -d @- ${address}`;
}

function path({ model, version }, verb) {
  return `v1/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}:${verb}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function post(choice, verb, body, file, signal) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return ask(path(choice, verb), request, signal, file.size);
}

async function ask(address, request, signal = new AbortController().signal, size = 0) {
  let response, answer;
  try {
    response = await fetch(address, { ...request, signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]) });
    answer = await response.json().catch(() => null); // a proxy's page of errors is no JSON
  } catch (error) {
    signal.throwIfAborted();
    if (error.name === "TimeoutError") throw new Refused("The server took too long to answer.", true);
    const large = size > LARGE ? " Perhaps the file is too large for it." : "";
    throw new Refused(`The server cannot be reached.${large}`, true);
  }
  if (response.ok && answer) return answer;
  throw refused(response.status, answer?.error);
}

function refused(status, reason) {
  if (status === 413) return new Refused("The file is too large for this server.", false);
  const passing = status >= 500 || [404, 408, 429].includes(status); // a version may come, a queue become shorter
  const words = reason?.replace(/^image 0: /, "") ?? `the server gave no answer (status ${status})`;
  return new Refused(words.charAt(0).toUpperCase() + words.slice(1), passing);
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Refused("This cannot be read; a folder, or a file that has gone?", true));
    reader.readAsDataURL(file);
  });
}

let running = 0;
const waiting = [];

/** Run `work` when its turn comes; where `signal` has ended it by then, not at all. */
async function inTurn(signal, work) {
  if (running >= AT_A_TIME) await new Promise((go) => waiting.push(go));
  else running += 1;
  try {
    signal.throwIfAborted();
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next(); // the place is handed on
    else running -= 1;
  }
}
