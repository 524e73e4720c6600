// A form that acts is sent once: the second click finds its button busy. (The server acts once in any case.)
document.addEventListener("submit", (event) => {
  if (event.target.matches("form[data-once]")) {
    for (const button of event.target.querySelectorAll("button[type=submit]")) {
      button.setAttribute("aria-busy", "true");
      setTimeout(() => { button.disabled = true; });
    }
  }
});
// Coming back with the back button, the page is ready again.
window.addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("form[data-once] button[aria-busy]")) {
    button.removeAttribute("aria-busy");
    button.disabled = false;
  }
});

// Unfold's shell has controls that only a mouse reaches: they become buttons for keyboard and screen reader as well.
const NAMES = { dock_to_right: "Show or hide the menu", close: "Close the menu", unfold_more: "" };
document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("mc-errors")?.focus();
  const sidebar = document.getElementById("nav-sidebar");
  sidebar?.setAttribute("role", "navigation");
  sidebar?.setAttribute("aria-label", "Pages");
  for (const input of document.querySelectorAll("input[placeholder]:not([aria-label]):not([id^='mc-'])")) {
    input.setAttribute("aria-label", input.placeholder);
  }
  for (const control of document.querySelectorAll("[x-on\\:click]")) {
    if (control.closest("template") || control.matches("a[href], button, input, select, textarea, #changelist-filter-close")) continue;
    control.setAttribute("tabindex", "0");
    control.setAttribute("role", "button");
    const name = NAMES[control.textContent.trim()];
    if (name) control.setAttribute("aria-label", name);
    control.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        control.click();
      }
    });
  }
});

// The inbox: all rows at once, and how many are chosen.
document.addEventListener("DOMContentLoaded", () => {
  const all = document.querySelector(".mc-select-all");
  if (!all) return;
  const rows = [...document.querySelectorAll(".mc-select")];
  const said = document.getElementById("mc-selected");
  all.hidden = document.querySelector(".mc-select-all-text").hidden = false;
  const tell = () => {
    const number = rows.filter((row) => row.checked).length;
    all.checked = number === rows.length;
    all.indeterminate = number > 0 && number < rows.length;
    said.textContent = number ? `${number} selected` : "Select those to answer with one comment.";
  };
  all.addEventListener("change", () => { for (const row of rows) row.checked = all.checked; tell(); });
  for (const row of rows) row.addEventListener("change", tell);
  tell();
});

// What was folded in a part that refreshes by itself stays folded.
const folded = new Set();
document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("details[data-fold]")) folded[event.target.open ? "delete" : "add"](event.target.id);
}, true);
document.addEventListener("htmx:afterSwap", () => {
  for (const each of document.querySelectorAll("details[data-fold]")) {
    if (folded.has(each.id)) each.open = false;
  }
});
