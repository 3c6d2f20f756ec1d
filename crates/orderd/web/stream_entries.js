// `[{"id":…,"order":{…}},…]` as a stream: the text of each entry, without the whole list.

const [QUOTE, BACKSLASH, OPEN, CLOSE, LIST, LIST_END] = [..."\"\\{}[]"].map((sign) => sign.charCodeAt(0));

export async function* entries(body) {
  const splitter = new Splitter();
  for await (const text of chunks(body)) yield* splitter.add(text);
  // A list without its end was interrupted.
  if (!splitter.isWhole) throw new TypeError("the list ends too soon");
}

// Not every browser iterates over streams.
async function* chunks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

class Splitter {
  #begun = "";
  #depth = 0;
  #inText = false;
  #escaped = false;
  isWhole = false;

  *add(text) {
    // The start of the entry in this chunk; it may have begun in an earlier one.
    let start = this.#depth > 1 ? 0 : -1;
    for (let at = 0; at < text.length; at += 1) {
      const sign = text.charCodeAt(at);
      if (this.#inText) {
        this.#within(sign);
      } else if (sign === QUOTE) {
        this.#inText = true;
      } else if (sign === OPEN || sign === LIST) {
        if (this.#depth === 1) start = at;
        this.#depth += 1;
      } else if (sign === CLOSE || sign === LIST_END) {
        this.#depth -= 1;
        if (this.#depth === 1) {
          yield this.#begun + text.slice(start, at + 1);
          [this.#begun, start] = ["", -1];
        }
        this.isWhole = this.#depth === 0;
      }
    }
    if (start >= 0) this.#begun += text.slice(start);
  }

  #within(sign) {
    if (this.#escaped) this.#escaped = false;
    else if (sign === BACKSLASH) this.#escaped = true;
    else if (sign === QUOTE) this.#inText = false;
  }
}
