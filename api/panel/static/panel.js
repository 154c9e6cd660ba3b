// Keeps a page current, asks before what cannot be undone, and a few keys. Everything works without it.
"use strict";

const main = document.getElementById("main");

// A line of server-sent events: when something happened, the page is fetched again and its content replaced, unless
// somebody is typing in it or has opened a form.
function busy() {
  const at = document.activeElement;
  const typing = at && main.contains(at) && at.matches("input, textarea, select, button, summary");
  return typing || Boolean(main.querySelector(".acts details[open], td details[open]"));
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("main");
  if (!fresh) return;
  if (busy()) return offer();
  main.replaceChildren(...fresh.childNodes);
  main.classList.remove("fresh");
  void main.offsetWidth; // so that the animation begins again
  main.classList.add("fresh");
}

function offer() {
  if (document.querySelector(".changed")) return;
  const button = document.createElement("button");
  button.className = "main changed";
  button.textContent = "Hay cambios: actualizar";
  button.addEventListener("click", () => location.reload());
  document.body.append(button);
}

if (main && main.hasAttribute("data-live")) {
  const about = main.getAttribute("data-live");
  let waiting = null;
  const line = new EventSource("/eventos");
  line.addEventListener("message", (event) => {
    if (about && JSON.parse(event.data).data.invoice_id !== about) return;
    if (waiting === null) {
      waiting = setTimeout(() => { waiting = null; refresh().catch(() => {}); }, 1500);
    }
  });
  addEventListener("pagehide", () => line.close());
}

document.addEventListener("submit", (event) => {
  const question = event.target.getAttribute("data-confirm");
  if (question && !confirm(question)) event.preventDefault();
});

// "/" searches; "g" and then h, f, c or a goes to Hoy, Facturas, Conexiones or Avisos.
let gone = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const pages = { h: "/", f: "/facturas", c: "/conexiones", a: "/avisos" };
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("find")?.focus();
  } else if (gone && pages[event.key]) {
    location.href = pages[event.key];
  }
  gone = event.key === "g";
});
