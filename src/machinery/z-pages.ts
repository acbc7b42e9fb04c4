/**
 * /statusz and /flagz of every component: version, uptime and flags. Plain text by default, or config.k8s.io objects
 * when the Accept header asks for one of its versions, after upstream's zpages. Makes the content only; the server sends it.
 */
import { httpDate } from '#stdx/dates.ts';
import { parseAccept } from './accept.ts';
import { statusErrors } from './errors.ts';
import type { KubeObject } from './object.ts';
import { formatTime } from './time.ts';

/** Without object: plain text. */
export interface ZPage {
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly object?: KubeObject;
  readonly encoding?: 'json' | 'yaml';
}

interface ProgramFacts {
  /** 'apiserver', 'kube-scheduler' */
  readonly name: string;
  /** 'v1.36.0+…' */
  readonly gitVersion: string;
  /** '1.36' */
  readonly emulationVersion: string;
}

const GROUP = 'config.k8s.io';
const TEXT = 'text/plain; charset=utf-8';
const MEDIA_TYPES = { json: 'application/json', yaml: 'application/yaml' } as const;
const ACCEPTED = [MEDIA_TYPES.json, MEDIA_TYPES.yaml, 'text/plain'];
const STRUCTURED: Readonly<Record<string, 'json' | 'yaml'>> = {
  [MEDIA_TYPES.json]: 'json',
  [MEDIA_TYPES.yaml]: 'yaml',
  'application/*': 'json',
  '*/*': 'json',
};
const TEXTUAL = new Set(['text/plain', 'text/*', '*/*']);

const WARNING =
  'Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.';

/** paths: the debugging endpoints. Throws a StatusError for an Accept header that cannot be satisfied. */
export function statuszPage(
  accept: string | undefined,
  { name, gitVersion, emulationVersion, paths }: ProgramFacts & { readonly paths: readonly string[] },
): ZPage {
  const uptimeSeconds = Math.floor(process.uptime()),
    startTime = new Date(Date.now() - uptimeSeconds * 1000);
  const facts = {
    goVersion: `node ${process.version}`,
    binaryVersion: gitVersion.replace(/^v/, ''),
    emulationVersion,
    paths,
  };
  return page(accept, {
    name,
    kind: 'Statusz',
    content: { startTime: formatTime(startTime.getTime()), uptimeSeconds, ...facts },
    lines: [
      '',
      `Started: ${unixDate(startTime)}`,
      `Up: ${uptimeText(uptimeSeconds)}`,
      `Go version: ${facts.goVersion}`,
      `Binary version: ${facts.binaryVersion}`,
      `Emulation version: ${emulationVersion}`,
      `Paths: ${paths.join(' ')}`,
    ],
  });
}

/** flags: by name, without dashes, with their effective values. */
export function flagzPage(
  accept: string | undefined,
  { name, flags }: { readonly name: string; readonly flags: Readonly<Record<string, string>> },
): ZPage {
  const sorted = Object.entries(flags).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return page(accept, {
    name,
    kind: 'Flagz',
    content: { flags: Object.fromEntries(sorted) },
    lines: sorted.map(([flag, value]) => `${flag}: ${value}`),
  });
}

interface Page {
  readonly name: string;
  readonly kind: 'Statusz' | 'Flagz';
  readonly content: Record<string, unknown>;
  readonly lines: readonly string[];
}

function page(accept: string | undefined, { name, kind, content, lines }: Page): ZPage {
  const chosen = choose(accept, kind);
  const text = ['', `${name} ${kind.toLowerCase()}`, WARNING, ...lines, ''].join('\n');
  if (chosen === 'text')
    return { headers: { 'content-type': TEXT, 'cache-control': 'no-cache, private' }, text };
  const { encoding, version } = chosen;
  const headers: Record<string, string> = {
    'content-type': `${MEDIA_TYPES[encoding]};g=${GROUP};v=${version};as=${kind}`,
    'cache-control': 'no-cache, private',
  };
  if (version === 'v1alpha1')
    headers['warning'] =
      `299 - "This version of the ${kind.toLowerCase()} endpoint is deprecated. Please use a newer version."`;
  const object = {
    kind,
    apiVersion: `${GROUP}/${version}`,
    metadata: { name },
    ...content,
  } as KubeObject;
  return { headers, text, object, encoding };
}

function choose(
  accept: string | undefined,
  kind: string,
): 'text' | { readonly encoding: 'json' | 'yaml'; readonly version: string } {
  if (accept === undefined || accept.trim() === '') return 'text';
  for (const {
    type,
    parameters: { as, g, v },
  } of parseAccept(accept)) {
    const isPlain = as === undefined && g === undefined && v === undefined;
    if (isPlain && TEXTUAL.has(type)) return 'text';
    const encoding = STRUCTURED[type];
    if (encoding && as === kind && g === GROUP && (v === 'v1beta1' || v === 'v1alpha1'))
      return { encoding, version: v };
  }
  throw statusErrors.notAcceptable(ACCEPTED);
}

/** 'Sun Nov  9 04:55:13 UTC 2026' */
function unixDate(date: Date): string {
  const [weekday, day, month, year, time] = httpDate(date.getTime()).replace(',', '').split(' ');
  return `${weekday} ${month} ${day!.replace(/^0/, ' ')} ${time} UTC ${year}`;
}

function uptimeText(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${Math.floor(seconds / 3600)} hr ${two(Math.floor(seconds / 60) % 60)} min ${two(seconds % 60)} sec`;
}
