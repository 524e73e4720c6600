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
document.addEventListener("DOMContentLoaded", () => document.getElementById("mc-errors")?.focus());
