// Signing in, if the service requires a token: the token is sent once; scripts can't read the cookie that it returns. A
// further sign-in adds the rights of another token.

import { $ } from "./dom.js";
import { t } from "./i18n.js";
import { Refused, signIn, signOut } from "./api.js";

// Scripts can't read the cookie. If only some actions need a token, nothing else shows after a reload that the user has
// signed in.
const SIGNED_IN = "orderd-signed-in";

export function hasSignedIn() {
  try {
    return localStorage.getItem(SIGNED_IN) !== null;
  } catch {
    return false;
  }
}

export function note(isSignedIn) {
  try {
    if (isSignedIn) localStorage.setItem(SIGNED_IN, "");
    else localStorage.removeItem(SIGNED_IN);
  } catch {
    // A browser that keeps nothing shows the button until the next reload.
  }
}

// Translated again when the language changes. The service's own text of a refusal has no key.
export function fail(key, text = key ? t(key) : "") {
  $("signin-error").dataset.t = key ?? "";
  $("signin-error").textContent = text;
}

export function wire(signedIn, signedOut) {
  $("signin-form").onsubmit = async (event) => {
    event.preventDefault();
    const error = await signIn($("token").value).catch((failure) => failure);
    if (!(error instanceof Error)) fail(error);
    else if (error instanceof Refused && !error.mayPass) fail(null, error.message || String(error.status));
    else fail("tryLater");
    const isSignedIn = error === null || error === "cannotRead";
    if (isSignedIn) {
      $("token").value = "";
      note(true);
    }
    if (error === null) signedIn();
    else $("token").select();
  };
  $("sign-out").onclick = async () => {
    const { ok } = await signOut().catch(() => ({ ok: false }));
    if (ok) note(false);
    signedOut();
    fail(ok ? null : "stillSignedIn");
  };
}
