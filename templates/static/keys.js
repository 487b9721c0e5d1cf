"use strict";
// Single keys. They can be switched off, since speech input and some hands press them unawares (WCAG 2.1.4).
(() => {
  const SWITCH = "single-keys";
  const on = () => reportgen.recall(SWITCH) !== "off";
  const help = () => document.querySelector("#_help");

  const typing = target => target.closest("input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]");

  // Moves the focus to the next of the page's elements, from the focused one or, first, from the top of the window.
  const focusNext = (elements, step) => {
    const seen = elements.filter(element => element.checkVisibility());
    const at = seen.indexOf(document.activeElement);
    const next = at < 0 ? seen.find(element => element.getBoundingClientRect().top >= 0) : seen[at + step];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  };

  const layer = step => {
    const page = reportgen.page();
    const rows = [...page.querySelectorAll(".tree .row-name")];
    if (rows.length > 0) return focusNext(rows, step);
    const address = reportgen.neighbour(step);
    if (address) location.assign(address);
  };

  // On a layer's page the images stand one below the other; an image's page leads to the next one.
  const image = step => {
    const page = reportgen.page();
    const panels = [...page.querySelectorAll(".panel[data-image]")];
    if (panels.length === 0) return page.querySelector(`.pager a[rel=${step > 0 ? "next" : "prev"}]`)?.click();
    const passed = panels.filter(panel => panel.getBoundingClientRect().top <= innerHeight / 4).length - 1;
    const next = panels[Math.min(panels.length - 1, Math.max(0, passed + step))];
    reportgen.go({ place: next.dataset.image });
    next.scrollIntoView();
  };

  const actions = {
    "/": () => reportgen.find(),
    "?": () => help().showModal(),
    j: () => layer(1),
    k: () => layer(-1),
    "]": () => image(1),
    "[": () => image(-1),
  };

  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (!on() || typing(event.target) || document.querySelector("dialog[open]")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  addEventListener("DOMContentLoaded", () => {
    const box = document.querySelector("#_single-keys");
    box.checked = on();
    box.addEventListener("change", () => reportgen.remember(SWITCH, box.checked ? "on" : "off"));
    const button = reportgen.make("button", { type: "button", class: "to-help" }, "Keys");
    button.addEventListener("click", () => help().showModal());
    document.querySelector("header nav").append(button);
  });
})();
