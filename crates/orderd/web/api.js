// Requests to the service. After a 401 the user has to sign in, and after a 403 with a further token: to read, or to
// replay and drop dead letters.

export class Refused extends Error {
  constructor(status, text, lacksRight = false) {
    super(text);
    [this.status, this.lacksRight] = [status, lacksRight];
  }

  // Whether a retry may succeed.
  get mayPass() {
    return this.status === 0 || this.status === 408 || this.status >= 500;
  }
}

// Long enough for slow connections; a lost request is repeated.
const LONGEST = 30000;

// The time until a retry: around `ms`, so that after a restart not all pages ask in the same moment.
export const jittered = (ms) => ms * (0.5 + Math.random());

let signInNeeded = () => {};
export const onSignInNeeded = (callback) => (signInNeeded = callback);
let sessions = 0;

// Whether the token or the session lacks a right. Other causes of a 403, such as another origin, name no scheme.
const lacksRight = ({ status, headers }) => status === 403 && headers.has("www-authenticate");
const refused = async (response) => new Refused(response.status, (await response.text()).trim(), lacksRight(response));

async function ask(path, options = {}, read = (response) => response) {
  const session = sessions;
  try {
    const response = await fetch(path, { credentials: "same-origin", signal: AbortSignal.timeout(LONGEST), ...options });
    // The response to a request sent before the sign-in shows nothing about the current session.
    const right = path.endsWith("/replay") || options.method === "DELETE" ? "replay" : "read";
    const lacks = response.status === 401 || lacksRight(response);
    if (lacks && path !== "session" && session === sessions) signInNeeded(right, response.status);
    return await read(response);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Refused) throw error;
    throw new Refused(0, "");
  }
}

const text = (path, options) => ask(path, options, async (response) => {
  if (!response.ok) throw await refused(response);
  return await response.text();
});

export const memLen = async () => JSON.parse(await text("mem_len")).mem_len;
export const orderText = (id, options) => text(`order/${encodeURIComponent(id)}`, options);
export const signOut = () => ask("session", { method: "DELETE" });

// The key of the error's text, or null. The token adds its rights to those of the session, which may still lack reading.
export async function signIn(token) {
  const status = await ask("session", { method: "POST", body: new URLSearchParams({ token }) }, async (response) => {
    if (!response.ok && response.status !== 401) throw await refused(response);
    return response.status;
  });
  if (status === 401) return "wrongToken";
  sessions += 1;
  return lacksRight(await ask("mem_len")) ? "cannotRead" : null;
}

// The ids of a page, oldest first.
export const page = async (number) => JSON.parse(await text(`order_pages/${number}`));

// Dead letters, newest first, and a single one with its payload.
export const deadLetters = async (before) => JSON.parse(await text(before ? `dead_letters?before=${before}` : "dead_letters"));
export const deadLetter = async (key) => JSON.parse(await text(`dead_letters/${encodeURIComponent(key)}`));

// The outcome of a replay, also if it could not be sent.
export const replay = (key, body) => ask(`dead_letters/${encodeURIComponent(key)}/replay`, { method: "POST", body }, async (response) => {
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  if (!isJson) throw await refused(response);
  return await response.json();
});

export const drop = (key) => text(`dead_letters/${encodeURIComponent(key)}`, { method: "DELETE" });

// No document matches a value of another type than the member's. The prefix of members keeps the name from being one of
// the other parameters.
export async function find(member, value, options) {
  try {
    return JSON.parse(await text(`orders?${new URLSearchParams({ [`$.${member}`]: value })}`, options));
  } catch (error) {
    if (error.status === 400) return [];
    throw error;
  }
}

// The response of `/orders`, its body unread, and the cursor of the next page, if any.
export const listed = (query, options) => ask(`orders?${query}`, options, async (response) => {
  if (!response.ok) throw await refused(response);
  const [, next] = /<[^>?]*\?([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "") ?? [];
  return { response, next: next === undefined ? null : new URLSearchParams(next).get("after") };
});

// The state of the components: `/readyz` with a status that browsers do not report as an error of the page.
export const parts = async () => JSON.parse(await text("healthz", { cache: "no-store" }));

// The service's description: whether it requires a token to read, the members to search by with their types, and the name
// of documents.
export async function about() {
  const api = JSON.parse(await text("openapi.json"));
  const guarded = "token" in (api.components.securitySchemes ?? {});
  const response = guarded ? await fetch("mem_len") : new Response();
  const lacksRead = lacksRight(response);
  const replay = "/dead_letters/{key}/replay" in api.paths;
  const search = api["x-search"] ?? [];
  // The parameters of the members come first.
  const types = search.map((_, index) => api.paths["/orders"].get.parameters[index].schema.type);
  const [schema, model] = [api.components.schemas[api["x-schema"]], api["x-model"] ?? "order"];
  const signedIn = response.status !== 401 && !lacksRead;
  return { guarded, signedIn, lacksRead, replay, search, types, schema, model };
}
