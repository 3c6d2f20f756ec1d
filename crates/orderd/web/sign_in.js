// Signing in, where the service wants a token: the token is sent once, and the cookie that comes back is none
// that a script can read.

import { $ } from "./dom.js";
import { t } from "./i18n.js";
import { signIn, signOut } from "./api.js";

export function wire(signedIn, signedOut) {
  $("signin-form").onsubmit = async (event) => {
    event.preventDefault();
    const status = await signIn($("token").value).catch(() => 0);
    $("signin-error").textContent = status === 204 ? "" : t({ 401: "wrongToken", 403: "cannotRead" }[status] ?? "tryLater");
    if (status !== 204) return $("token").select();
    $("token").value = "";
    signedIn();
  };
  $("sign-out").onclick = async () => {
    const { ok } = await signOut().catch(() => ({ ok: false }));
    signedOut();
    $("signin-error").textContent = ok ? "" : t("stillSignedIn");
  };
}
