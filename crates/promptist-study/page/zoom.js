// An image as large as the window. Left and right show its counterpart on the other side.

const byId = (id) => document.getElementById(id);
const box = byId("zoom");
let shown = { sides: [[], []], side: 0, place: 0 };

/** @param {[string[], string[]]} sides @param {number} side @param {number} place */
export function zoom(sides, side, place) {
  shown = { sides, side, place };
  draw();
  box.showModal();
}

export function closeZoom() {
  if (box.open) box.close();
}

function draw() {
  const { sides, side, place } = shown;
  const count = sides[side].length;
  const name = count > 1 ? `${"AB"[side]}, image ${place + 1} of ${count}` : "AB"[side];
  byId("zoom-name").textContent = name;
  byId("zoom-image").alt = name;
  byId("zoom-image").src = sides[side][place];
}

byId("zoom-close").addEventListener("click", closeZoom);
box.addEventListener("keydown", (event) => {
  const side = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
  if (side === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  shown.side = side;
  draw();
});
