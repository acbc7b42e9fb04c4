/**
 * /statusz and /flagz: what runs and how it was started. As text for people by default, as config.k8s.io objects for programs that ask for one of its versions,
 * after upstream's zpages.
 */
import { httpDate } from '#stdx/dates.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { RequestContext } from '../context.ts';
import { encodeObject } from '../http/codecs.ts';
import type { ApiResponse } from '../http/request.ts';
import { MEDIA_TYPES, parseAccept, type Encoding } from '../http/negotiation.ts';

export interface VersionInfo extends Readonly<Record<string, string>> {
  readonly major: string;
  readonly minor: string;
  readonly emulationMajor: string;
  readonly emulationMinor: string;
  readonly minCompatibilityMajor: string;
  readonly minCompatibilityMinor: string;
  readonly gitVersion: string;
  readonly gitCommit: string;
  readonly gitTreeState: string;
  readonly buildDate: string;
  readonly goVersion: string;
  readonly compiler: string;
  readonly platform: string;
}

const NAME = 'apiserver';
const GROUP = 'config.k8s.io';
const TEXT = 'text/plain; charset=utf-8';
const ACCEPTED = [MEDIA_TYPES.json, MEDIA_TYPES.yaml, 'text/plain'];
const STRUCTURED: Readonly<Record<string, Encoding>> = {
  [MEDIA_TYPES.json]: 'json',
  [MEDIA_TYPES.yaml]: 'yaml',
  'application/*': 'json',
  '*/*': 'json',
};
const TEXTUAL = new Set(['text/plain', 'text/*', '*/*']);

const WARNING =
  'Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.';

/** paths: those that are for debugging. */
export function statusz(
  context: RequestContext,
  { version, paths }: { readonly version: VersionInfo; readonly paths: readonly string[] },
): ApiResponse {
  const uptimeSeconds = Math.floor(process.uptime()),
    startTime = new Date(Date.now() - uptimeSeconds * 1000);
  const { goVersion, gitVersion, emulationMajor, emulationMinor } = version;
  const facts = {
    goVersion,
    binaryVersion: gitVersion.replace(/^v/, ''),
    emulationVersion: `${emulationMajor}.${emulationMinor}`,
    paths,
  };
  return page(context, {
    kind: 'Statusz',
    content: { startTime: formatTime(startTime.getTime()), uptimeSeconds, ...facts },
    lines: [
      '',
      `Started: ${unixDate(startTime)}`,
      `Up: ${uptimeText(uptimeSeconds)}`,
      `Go version: ${goVersion}`,
      `Binary version: ${facts.binaryVersion}`,
      `Emulation version: ${facts.emulationVersion}`,
      `Paths: ${paths.join(' ')}`,
    ],
  });
}

/** flags: by name, without dashes, as they hold now. */
export function flagz(context: RequestContext, flags: Readonly<Record<string, string>>): ApiResponse {
  const sorted = Object.entries(flags).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return page(context, {
    kind: 'Flagz',
    content: { flags: Object.fromEntries(sorted) },
    lines: sorted.map(([name, value]) => `${name}: ${value}`),
  });
}

interface Page {
  readonly kind: 'Statusz' | 'Flagz';
  readonly content: Record<string, unknown>;
  readonly lines: readonly string[];
}

function page({ request }: RequestContext, { kind, content, lines }: Page): ApiResponse {
  const chosen = choose(request.headers['accept'], kind);
  if (chosen === 'text')
    return {
      status: 200,
      headers: { 'content-type': TEXT, 'cache-control': 'no-cache, private' },
      body: Buffer.from(['', `${NAME} ${kind.toLowerCase()}`, WARNING, ...lines, ''].join('\n')),
    };
  const { encoding, version } = chosen;
  const object = {
    kind,
    apiVersion: `${GROUP}/${version}`,
    metadata: { name: NAME },
    ...content,
  } as KubeObject;
  const headers: Record<string, string> = {
    'content-type': `${MEDIA_TYPES[encoding]};g=${GROUP};v=${version};as=${kind}`,
    'cache-control': 'no-cache, private',
  };
  if (version === 'v1alpha1')
    headers['warning'] =
      `299 - "This version of the ${kind.toLowerCase()} endpoint is deprecated. Please use a newer version."`;
  return { status: 200, headers, body: encodeObject(object, encoding).body };
}

function choose(
  accept: string | undefined,
  kind: string,
): 'text' | { readonly encoding: Encoding; readonly version: string } {
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
