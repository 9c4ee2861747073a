// Time bars and verdicts: what the verifier found, drawn and in words.
import { el, t } from "./common.js";

const classes = { intact: "intact", recovered: "recovered", break: "break", gap: "gap", unchecked: "unchecked" };

/** @type {Record<string, [string, string]>} */
export const findings = {
  intact: ["已证实", "proven"], recovered: ["断电后找回", "recovered"], break: ["暂停", "break"], gap: ["缺口", "gap"],
  altered: ["被改动", "altered"], "re-timed": ["时间被改动", "re-timed"], missing: ["文件缺失", "missing"], foreign: ["来历不明", "foreign"],
  destroyed: ["依法销毁", "destroyed"], unchecked: ["尚未核验", "not checked"],
};

export const finding = (f) => t(...(findings[f] || [f, f]));

/**
 * @param {{channel: string, from: number, to: number, finding: string}[]} spans µs
 * @param {number} all µs @param {string} [channel] only its spans and those of all
 */
export function timebar(spans, all, channel) {
  const mine = spans.filter((s) => channel === undefined || s.channel === channel || s.channel === "");
  const bar = el("div", { class: "timebar", role: "img", "aria-label": inWords(mine, all) });
  for (const s of mine) {
    if (all <= 0 || s.to <= s.from) continue;
    const e = el("span", { class: "span " + (classes[s.finding] || "altered"), title: finding(s.finding) });
    e.style.left = (100 * s.from) / all + "%";
    e.style.width = (100 * (Math.min(s.to, all) - s.from)) / all + "%";
    bar.append(e);
  }
  return bar;
}

function inWords(spans, all) {
  const sum = new Map();
  for (const s of spans) sum.set(s.finding, (sum.get(s.finding) || 0) + s.to - s.from);
  const channels = Math.max(1, new Set(spans.filter((s) => s.channel).map((s) => s.channel)).size);
  if (sum.size === 0) return finding("unchecked");
  return [...sum].map(([f, us]) => `${finding(f)} ${Math.min(100, Math.round((100 * us) / (all * channels)))} %`).join("，");
}

/** The exit codes of the verifier, for people. @param {number} exit @returns {[string, string]} class and words */
export function verdict(exit) {
  switch (exit) {
    case 0: return ["good", t("✓ 完整：未被改动，签名有效，没有缺口。", "✓ Whole: unaltered, signed, without a gap.")];
    case 1: return ["bad", t("✕ 不符：有内容被改动、缺失或来历不明。", "✕ Not as recorded: something is altered, missing or foreign.")];
    case 2: return ["bad", t("✕ 无法核验：有文件读不出或格式不对。", "✕ Cannot be checked: a file cannot be read or understood.")];
    case 3: return ["fair", t("△ 内容真实；但有暂停、缺口、找回的片段，或尚无外部佐证。", "△ Genuine; but with breaks, gaps or recovered parts, or without an outside anchor.")];
  }
  return ["bad", t("未知结果 ", "Unknown result ") + exit];
}
