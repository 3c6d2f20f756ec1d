// Requests to the service. After a 401 the user has to sign in.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }

  // Whether the same may be answered the next time.
  get mayPass() {
    return this.status === 0 || this.status >= 500;
  }
}

// Long enough for slow connections; a lost request is repeated.
const LONGEST = 30000;

let signInNeeded = () => {};
export const onSignInNeeded = (callback) => (signInNeeded = callback);
let sessions = 0;

async function ask(path, options = {}, read = (response) => response) {
  const session = sessions;
  try {
    const response = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(LONGEST), ...options });
    // An answer to a request from before the sign-in says nothing about the current session.
    if (response.status === 401 && path !== "session" && session === sessions) signInNeeded();
    return await read(response);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Refused) throw error;
    throw new Refused(0, "");
  }
}

const text = (path, options) => ask(path, options, async (response) => {
  const body = await response.text();
  if (!response.ok) throw new Refused(response.status, body.trim());
  return body;
});

export const memLen = async () => JSON.parse(await text("mem_len")).mem_len;
export const orderText = (id, options) => text(`order/${encodeURIComponent(id)}`, options);
export const signOut = () => ask("session", { method: "DELETE" });

// 403 where the token is good, and not to read.
export async function signIn(token) {
  const response = await ask("session", { method: "POST", body: new URLSearchParams({ token }) });
  if (!response.ok) return response.status;
  const { status } = await ask("mem_len");
  if (status === 403) return status;
  sessions += 1;
  return response.status;
}

// The ids of a page, oldest first.
export const page = async (number) => JSON.parse(await text(`order_pages/${number}`));

// What could not be taken in, newest first, and one of it with its payload.
export const deadLetters = async (before) => JSON.parse(await text(before ? `dead_letters?before=${before}` : "dead_letters"));
export const deadLetter = async (key) => JSON.parse(await text(`dead_letters/${encodeURIComponent(key)}`));

// What became of it, also where it could not be sent.
export const replay = (key, body) => ask(`dead_letters/${encodeURIComponent(key)}/replay`, { method: "POST", body }, async (response) => {
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  if (!isJson) throw new Refused(response.status, (await response.text()).trim());
  return await response.json();
});

// Nothing has a value that the member doesn't take, such as text where it is a number. Written with the sign of a member, it is
// none of the other parameters.
export async function find(member, value, options) {
  try {
    return JSON.parse(await text(`orders?${new URLSearchParams({ [`$.${member}`]: value })}`, options));
  } catch (error) {
    if (error.status === 400) return [];
    throw error;
  }
}

// What `/orders` finds, its body unread, and the cursor after it; null where nothing follows.
export const listed = (query, options) => ask(`orders?${query}`, options, async (response) => {
  if (!response.ok) throw new Refused(response.status, (await response.text()).trim());
  const [, next] = /<[^>?]*\?([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "") ?? [];
  return { response, next: next === undefined ? null : new URLSearchParams(next).get("after") };
});

// How the parts are. It is `/readyz` with a status that no browser takes for an error of the page's.
export const parts = async () => JSON.parse(await text("healthz", { cache: "no-store" }));

// What the service says of itself: whether it wants a token, by what documents are found, and what they are called.
export async function about() {
  const api = JSON.parse(await text("openapi.json"));
  const tokens = "token" in (api.components.securitySchemes ?? {});
  const signedIn = !tokens || (await fetch("mem_len")).status !== 401;
  const replay = "/dead_letters/{key}/replay" in api.paths;
  return { tokens, signedIn, replay, search: api["x-search"] ?? [], schema: api.components.schemas[api["x-schema"]], model: api["x-model"] ?? "order" };
}
