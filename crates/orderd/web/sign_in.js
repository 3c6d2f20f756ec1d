// Signing in, if the service requires a token: the token is sent once; scripts can't read the cookie that it returns.

import { $ } from "./dom.js";
import { t } from "./i18n.js";
import { signIn, signOut } from "./api.js";

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

function note(isSignedIn) {
  try {
    if (isSignedIn) localStorage.setItem(SIGNED_IN, "");
    else localStorage.removeItem(SIGNED_IN);
  } catch {
    // A browser that keeps nothing shows the button until the next reload.
  }
}

export function wire(signedIn, signedOut) {
  $("signin-form").onsubmit = async (event) => {
    event.preventDefault();
    const status = await signIn($("token").value).catch(() => 0);
    $("signin-error").textContent = status === 204 ? "" : t({ 401: "wrongToken", 403: "cannotRead" }[status] ?? "tryLater");
    if (status !== 204) return $("token").select();
    $("token").value = "";
    note(true);
    signedIn();
  };
  $("sign-out").onclick = async () => {
    const { ok } = await signOut().catch(() => ({ ok: false }));
    if (ok) note(false);
    signedOut();
    $("signin-error").textContent = ok ? "" : t("stillSignedIn");
  };
}
