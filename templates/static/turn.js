"use strict";
// A layer's pictures of many images stand on several pages. An address of its first page, `layers/conv.html#cat/c12`,
// holds for all of them: it leads on to the page that has the image.
reportgen.onMove((page, { place, query }) => {
  const image = place.split("/")[0];
  const link = image && page.querySelector(`.jump .elsewhere[id="${CSS.escape(image)}"]`);
  if (link) location.replace(link.href + reportgen.format({ place, query }).slice(reportgen.format({ place: image }).length));
});
