"use strict";
// On paper nothing can be scrolled to or opened: all pictures load, and what is folded away opens until it is printed.
(() => {
  let opened = [];

  addEventListener("beforeprint", () => {
    const page = reportgen.page();
    for (const picture of page.querySelectorAll("img[loading=lazy]")) picture.loading = "eager";
    opened = [...page.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
