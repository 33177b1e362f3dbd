/* An effect with its interval as a small SVG: zero, the allowed loss, the bar and the point. */

import { svg } from "./dom.js";
import { number, t } from "./strings.js";

const WIDTH = 180;
const HEIGHT = 28;
const EDGE = 8;

/** The common scale of a report's suites, zero included, so that gains and losses can be compared by eye. */
export function scaleOf(suites) {
  const marks = suites.flatMap((suite) => [...suite.interval, suite.effect, -(suite.margin ?? 0)]);
  const low = Math.min(-0.01, ...marks);
  const high = Math.max(0.01, ...marks);
  return (value) => EDGE + ((value - low) / (high - low)) * (WIDTH - 2 * EDGE);
}

/** One suite on that scale. */
export function interval(suite, at) {
  const [low, high] = suite.interval;
  const middle = HEIGHT / 2;
  const words = { suite: suite.suite, effect: number(suite.effect, 3, true), low: number(low, 3, true), high: number(high, 3, true) };
  const line = (name, x) => svg("line", { class: name, x1: x, x2: x, y1: 3, y2: HEIGHT - 3 });
  return svg("svg", { class: `interval ${suite.passed ? "passed" : "not-passed"}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": t("intervalLabel", words) },
    line("zero", at(0)),
    suite.margin ? line("margin", at(-suite.margin)) : null,
    svg("rect", { class: "bar", x: at(low), y: middle - 3, width: Math.max(1, at(high) - at(low)), height: 6, rx: 3 }),
    svg("circle", { class: "point", cx: at(suite.effect), cy: middle, r: 5 }));
}
