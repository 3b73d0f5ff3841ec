// A <textarea> shows one caret, its own. Those of others are in a layer of the same size above it:
// the same text, invisible, with marks in it.

/**
 * @param box the textarea.
 * @param layer the element above it.
 * @param carets a list of `{user, hue, index}`.
 */
export function showCarets(box, layer, carets) {
  const parts = [];
  let end = 0;
  for (const { user, hue, index } of carets.sort((a, b) => a.index - b.index)) {
    const mark = document.createElement("span");
    mark.dataset.user = user;
    mark.style.setProperty("--hue", hue);
    parts.push(box.value.slice(end, index), mark);
    end = index;
  }
  // The last line has its height also if there is nothing in it.
  layer.replaceChildren(...parts, `${box.value.slice(end)}\u200b`);
  layer.scrollTop = box.scrollTop;
  box.onscroll = () => (layer.scrollTop = box.scrollTop);
}
