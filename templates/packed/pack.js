"use strict";
// In a packed report all pages stand in one document. This shows the one that the address names:
// `#layers/conv.html/cat` is the place `cat` on the page `layers/conv.html`, whose element has that id.
(() => {
  const root = document.documentElement;
  const pages = [...document.querySelectorAll("[data-page]")];
  const place = () => {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch {
      return location.hash.slice(1);
    }
  };
  // Another fragment, such as that of the skip link, leaves the page as it is.
  const named = () => (place() ? pages.find(page => `${place()}/`.startsWith(page.dataset.prefix)) : pages[0]);

  // A picture that stands in several places is held once and drawn by `use`, which works without scripts. Where
  // they run it becomes an ordinary `img`, which can be saved, and which other scripts find.
  const unfold = page => {
    for (const drawn of page.querySelectorAll("svg.picture")) {
      const held = document.getElementById(drawn.querySelector("use").getAttribute("href").slice(1));
      const attributes = Object.fromEntries([...drawn.attributes].map(each => [each.name, each.value]));
      const { role, viewBox, preserveAspectRatio, "aria-hidden": hidden, "aria-label": alt, ...kept } = attributes;
      const picture = reportgen.make("img", { ...kept, alt: alt ?? "", src: held.getAttribute("href") });
      picture.classList.remove("picture");
      if (!picture.className) picture.removeAttribute("class");
      drawn.replaceWith(picture);
    }
  };

  const show = page => {
    for (const each of pages) each.hidden = each !== page;
    document.title = page.dataset.title;
    unfold(page);
    const skip = document.querySelector("a.skip");
    if (skip) skip.href = `#${reportgen.format({ place: "", query: "" })}`;
  };

  // Where a reader goes on with the keyboard or a screen reader: the place named, else the page's heading.
  const focus = (page, target) => {
    const place = target === page ? page.querySelector("h1") ?? page : target;
    if (!place.matches("a, button, input, summary, [tabindex]")) place.tabIndex = -1;
    place.focus({ preventScroll: true });
  };
  const scroll = (page, target) => {
    if (target === page) scrollTo(0, 0);
    else target.scrollIntoView();
  };

  let current = named() ?? pages[0];
  show(current);
  root.classList.remove("opening", "elsewhere");

  // A browser puts the reader back where one was before the page is there that one was on. So that is done here: a
  // move that follows no link goes back or forward, to where the same address was last seen.
  const seen = new Map();
  let following = false;
  try {
    history.scrollRestoration = "manual";
  } catch {
    // Then as the browser does it.
  }
  let address = location.hash;
  const see = () => {
    if (location.hash === address) seen.set(address, scrollY);
  };
  addEventListener("scroll", see, { passive: true });
  addEventListener("pagehide", () => {
    history.scrollRestoration = "auto"; // for a reload
  });
  addEventListener("click", event => {
    see();
    following = Boolean(event.target.closest?.("a[href^='#']"));
  });
  addEventListener("hashchange", () => {
    address = location.hash;
    const page = named();
    if (!page) return;
    const other = page !== current;
    const target = document.getElementById(place()) ?? page;
    current = page;
    if (other) {
      show(page);
      reportgen.enter();
    }
    if (!following && seen.has(address)) scrollTo(0, seen.get(address));
    else if (other) scroll(page, target);
    if (other) focus(page, target);
    following = false;
  });
  addEventListener("DOMContentLoaded", () => {
    const [entry] = performance.getEntriesByType("navigation");
    const target = document.getElementById(place());
    if (target && entry?.type !== "reload" && entry?.type !== "back_forward") scroll(current, target);
  });
})();
