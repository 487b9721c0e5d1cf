"use strict";
// In a packed report all pages stand in one document. This shows the one that the address names:
// `#layers/conv.html/cat` is the place `cat` on the page `layers/conv.html`, whose element has that id.
(() => {
  const root = document.documentElement;
  const pages = [...document.querySelectorAll("[data-page]")];
  const hash = () => reportgen.hash?.() ?? location.hash;
  const place = () => {
    try {
      return decodeURIComponent(hash().slice(1));
    } catch {
      return hash().slice(1);
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
      const title = drawn.querySelector("title");
      if (title) picture.title = title.textContent;
      drawn.replaceWith(picture);
    }
  };

  const show = page => {
    for (const each of pages) each.hidden = each !== page;
    document.title = page.dataset.title;
    unfold(page);
    const skip = document.querySelector("a.skip");
    if (skip) skip.href = `#${encodeURI(page.dataset.prefix)}`;
  };

  // Where a reader goes on with the keyboard or a screen reader: the place named, else the page's heading.
  const targetOn = page => {
    const { place } = reportgen.fragment();
    const find = text => text && document.getElementById(page.dataset.prefix + text);
    return find(place) || find(place.split("/")[0]) || page;
  };
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
  // move back or forward leads to where the same address was last seen. A browser that doesn't tell which move it
  // makes is taken to go back or forward where no link was followed.
  const seen = new Map();
  let following = false;
  globalThis.navigation?.addEventListener("navigate", event => {
    following = event.navigationType !== "traverse";
  });
  try {
    history.scrollRestoration = "manual";
  } catch {
    // Then as the browser does it.
  }
  const see = () => {
    if (named() === current) seen.set(hash(), scrollY);
  };
  addEventListener("scroll", see, { passive: true });
  addEventListener("pagehide", () => {
    history.scrollRestoration = "auto"; // for a reload
  });
  addEventListener("click", event => {
    see();
    const link = event.target.closest?.("a[href^='#']");
    if (!globalThis.navigation) following = Boolean(link);
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const target = link.getAttribute("href");
    const follow = () => {
      following = true;
      reportgen.follow(target);
    };
    if (location.protocol === "about:") {
      // In a document that stands in an attribute, such a link would lead to the page around it.
      event.preventDefault();
      follow();
    } else {
      // A frame without rights that shows a file may not go to any file, itself among them.
      setTimeout(() => new URL(target, location.href).hash === location.hash || follow(), 0);
    }
  });
  addEventListener("hashchange", () => {
    const page = named();
    if (!page) return;
    const other = page !== current;
    current = page;
    if (other) {
      show(page);
      reportgen.enter();
    }
    const target = targetOn(page);
    if (!following && seen.has(hash())) scrollTo(0, seen.get(hash()));
    else if (other) scroll(page, target);
    if (other) focus(page, target);
    following = false;
  });
  addEventListener("DOMContentLoaded", () => {
    const [entry] = performance.getEntriesByType("navigation");
    if (entry?.type !== "reload" && entry?.type !== "back_forward") scroll(current, targetOn(current));
  });
})();
