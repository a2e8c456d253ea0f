// A strip: one bar for each window in the order of time. Its height is the window's margin or score, its
// colour the outcome; an abstention is a low bar, so that nothing depends on colour alone.

import { s } from "./elements.js";

const LETTERS = { p: "pass", b: "borderline", f: "fail", a: "abstain" };
const RANK = { a: 2, f: 3, b: 1, p: 0 };
const BARS_MAX = 400;
const HEIGHT = 26;

// `letters` has one letter per window, `heights` a number in 0..1 or null for each.
export function strip(letters, heights, label) {
  const bars = binned(letters, heights);
  // A few windows stay bars, and do not become walls.
  const width = Math.max(bars.length, 30);
  const counted = Object.entries(LETTERS).map(([letter, word]) => [[...letters].filter((one) => one === letter).length, word]).filter(([count]) => count);
  return s(
    "svg",
    { class: "strip", viewBox: `0 0 ${width * 10} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${counted.map((pair) => pair.join(" ")).join(", ") || "no windows"}` },
    s("line", { class: "ground", x1: 0, x2: bars.length * 10, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
    bars.map(([letter, height], place) => {
      const tall = letter === "a" ? 5 : Math.max(3, height * (HEIGHT - 2));
      return s("rect", { class: `o-${letter}`, x: place * 10 + (bars.length > 120 ? 0 : 0.6), y: HEIGHT - tall, width: bars.length > 120 ? 10 : 8.8, height: tall });
    }),
  );
}

// No more bars than a screen shows; of several windows the worst is shown.
function binned(letters, heights) {
  const count = Math.min(letters.length, BARS_MAX);
  return Array.from({ length: count }, (_, place) => {
    const from = Math.floor((place * letters.length) / count);
    const until = Math.max(from + 1, Math.floor(((place + 1) * letters.length) / count));
    const worst = [...letters.slice(from, until)].reduce((one, other) => (RANK[other] > RANK[one] ? other : one));
    const known = heights.slice(from, until).filter((height) => height !== null && height !== undefined);
    return [worst, known.length ? Math.min(...known) : 0];
  });
}
