/** The scorecard as one HTML file without scripts or outside parts: a ring of the verdicts, a bar a topic, and the rows with evidence. Readable in light and dark. */
import { escapeMarkup } from './markup.ts';
import type { Verdict } from '../row.ts';
import { summaryOf, type RowResult, type Scorecard } from '../scorecard.ts';

const COLOURS: Readonly<Record<Verdict, string>> = {
  met: '#2e7d32',
  partly: '#b26a00',
  'not met': '#c62828',
  unknown: '#757575',
};
const VERDICTS = Object.keys(COLOURS) as Verdict[];
const RADIUS = 60;
const CIRCUMFERENCE = 2 * Math.PI * RADIUS;
const BAR = { width: 320, height: 14 };

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
header { display: flex; gap: 2rem; align-items: center; flex-wrap: wrap; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2rem 0 .25rem; font-size: 1.15rem; }
article { border-left: .3rem solid var(--colour); padding: .35rem 0 .35rem .9rem; margin: .7rem 0; }
article h3 { margin: 0; font-size: 1rem; }
.verdict { color: var(--colour); font-weight: 600; }
.evidence { margin: .15rem 0; padding-left: 1.1rem; }
.remedy { margin: .15rem 0; }
code { font-size: .9em; }
footer { margin: 2.5rem 0; opacity: .75; font-size: .85rem; }
`;

export function renderHtml(scorecard: Scorecard): string[] {
  const { cluster, time, rows } = scorecard;
  const topics = [...new Set(rows.map(({ topic }) => topic))];
  return [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>Readiness of ${escapeMarkup(cluster)}</title><style>${STYLE}</style></head><body>`,
    `<header>${ring(scorecard)}<div><h1>Readiness of ${escapeMarkup(cluster)}</h1>`,
    `<p>${escapeMarkup(summaryOf(scorecard))}</p></div></header>`,
    ...topics.flatMap((topic) =>
      topicOf(
        topic,
        rows.filter((row) => row.topic === topic),
      ),
    ),
    `<footer>capstan readiness, ${escapeMarkup(time)}. Unknown rows count neither for nor against; those met in part count half.</footer>`,
    '</body></html>',
  ];
}

function ring({ counts, percent, rows }: Scorecard): string {
  let before = 0;
  const arcs = VERDICTS.filter((verdict) => counts[verdict] > 0).map((verdict) => {
    const length = (counts[verdict] / rows.length) * CIRCUMFERENCE;
    const dash = `stroke-dasharray="${length.toFixed(2)} ${(CIRCUMFERENCE - length).toFixed(2)}"`;
    const arc = `<circle cx="80" cy="80" r="${RADIUS}" fill="none" stroke="${COLOURS[verdict]}" stroke-width="22" ${dash} stroke-dashoffset="${(-before).toFixed(2)}" transform="rotate(-90 80 80)"><title>${verdict}: ${counts[verdict]}</title></circle>`;
    before += length;
    return arc;
  });
  const text = `<text x="80" y="88" text-anchor="middle" font-size="26" fill="currentColor">${percent} %</text>`;
  return `<svg width="160" height="160" role="img" aria-label="${percent} percent">${arcs.join('')}${text}</svg>`;
}

function topicOf(topic: string, rows: readonly RowResult[]): string[] {
  return [`<section><h2>${escapeMarkup(topic)}</h2>${bar(rows)}`, ...rows.map(rowOf), '</section>'];
}

function bar(rows: readonly RowResult[]): string {
  const width = BAR.width / rows.length;
  const parts = VERDICTS.flatMap((verdict) => rows.filter((row) => row.verdict === verdict)).map(
    ({ name, verdict }, index) =>
      `<rect x="${(index * width).toFixed(1)}" width="${(width - 2).toFixed(1)}" height="${BAR.height}" rx="2" fill="${COLOURS[verdict]}"><title>${escapeMarkup(name)}: ${verdict}</title></rect>`,
  );
  return `<svg width="${BAR.width}" height="${BAR.height}" role="img" aria-label="rows of this topic">${parts.join('')}</svg>`;
}

function rowOf({ name, title, verdict, evidence, remedy }: RowResult): string {
  const seen = evidence.map((line) => `<li>${escapeMarkup(line)}</li>`).join('');
  const todo = remedy === undefined ? '' : `<p class="remedy">→ <code>${escapeMarkup(remedy)}</code></p>`;
  return `<article id="${escapeMarkup(name)}" style="--colour:${COLOURS[verdict]}"><h3>${escapeMarkup(title)} <span class="verdict">${verdict}</span></h3><ul class="evidence">${seen}</ul>${todo}</article>`;
}
