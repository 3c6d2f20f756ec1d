// Downloads results as a file. It is written while it is read, so that only one document is in memory at a time.

import { $, h } from "./dom.js";
import { number, t } from "./i18n.js";
import { jittered, listed, Refused } from "./api.js";
import { entries } from "./stream_entries.js";
import { Csv } from "./csv.js";

const LIMIT = 1000;
const PIECE = 1 << 18;
const TRIES = 5;
const AGAIN = 1000;
const SAY_EVERY = 500;

let going = null;

// `criteria` is the search, `known` the model of documents.
export function wire(criteria, known) {
  const jsonl = { extension: "jsonl", type: "application/jsonl", head: "", line: (text) => `${text.replace(/[\r\n]+/g, " ")}\n` };
  const csv = () => new Csv(known.schema, known.search);
  $("find-jsonl").onclick = () => start(criteria(), known.model, jsonl);
  $("find-csv").onclick = () => start(criteria(), known.model, csv());
  $("find-stop").onclick = stop;
}

export function stop() {
  going?.abort();
}

// Another search: what was said is about the former one. A download that is going on says more.
export function forget() {
  if (going === null) $("find-said").textContent = "";
}

async function start(query, model, format) {
  const mine = (going = new AbortController());
  const name = `${model.replace(/[^\p{L}\p{N}.-]+/gu, "_")}-${new Date().toISOString().slice(0, 10)}.${format.extension}`;
  busy(true);
  let count = 0;
  let file = null;
  try {
    file = await open(name, format.type);
    count = await copy(query, format, file, mine.signal);
    await file.close();
    tell("downloadDone", count);
  } catch (error) {
    await file?.abort?.();
    // If the user closes the picker, no message is needed.
    tell(error.name === "AbortError" ? "downloadStopped" : "downloadFailed", count);
  } finally {
    going = null;
    busy(false);
  }
}

function busy(is) {
  $("find-jsonl").disabled = is;
  $("find-csv").disabled = is;
  $("find-stop").hidden = !is;
}

const tell = (key, count) => ($("find-said").textContent = t(key, { count: number(count) }));

// A file on disk if the browser allows that; otherwise blobs, which browsers keep out of the page's memory.
async function open(name, type) {
  if ("showSaveFilePicker" in window) {
    return (await window.showSaveFilePicker({ suggestedName: name })).createWritable();
  }
  const parts = [];
  return {
    write: async (text) => void parts.push(new Blob([text])),
    close: async () => save(new Blob(parts, { type }), name),
  };
}

function save(blob, name) {
  const href = URL.createObjectURL(blob);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

async function copy(query, format, file, signal) {
  const until = await newest(query, signal);
  let [count, failed, said, piece, after] = [0, 0, 0, format.head, null];
  for (let more = until !== null; more;) {
    let next = null;
    try {
      const { response, next: following } = await listed(pageOf(query, after), { signal });
      next = following;
      for await (const text of entries(response.body)) {
        const id = JSON.parse(/"(?:[^"\\]|\\.)*"/y.exec(text.slice(6))[0]);
        piece += format.line(text, id);
        [after, count, failed] = [id, count + 1, 0];
        if (id === until) next = null;
        if (piece.length >= PIECE) {
          await write(file, piece);
          piece = "";
        }
        if (Date.now() - said > SAY_EVERY) {
          tell("downloading", count);
          said = Date.now();
        }
        if (id === until) break;
      }
    } catch (error) {
      if (signal.aborted || isFinal(error) || ++failed > TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, jittered(AGAIN)));
      // Entries that arrived count; the next attempt continues after them.
      continue;
    }
    more = next !== null;
    after = next ?? after;
  }
  if (piece) await write(file, piece);
  return count;
}

class Unwritable extends Error {}

const write = (file, text) => file.write(text).catch((error) => {
  throw new Unwritable(error.message, { cause: error });
});

// Errors that a retry would not fix.
const isFinal = (error) =>
  error instanceof Unwritable || error instanceof SyntaxError || (error instanceof Refused && !error.mayPass);

function pageOf(query, after) {
  const wanted = new URLSearchParams(query);
  wanted.set("full", "true");
  wanted.set("limit", LIMIT);
  if (after !== null) wanted.set("after", after);
  return wanted;
}

// Sorted oldest first, new orders would follow endlessly: the download ends with the newest order at its start.
async function newest(query, signal) {
  const wanted = new URLSearchParams(query);
  const isAscending = wanted.get("order") === "asc";
  wanted.delete("order");
  wanted.set("limit", 1);
  const { response } = await listed(wanted, { signal });
  const [id = null] = JSON.parse(await response.text());
  return isAscending || id === null ? id : "";
}
