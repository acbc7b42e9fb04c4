/** `capstan certs list`, `check` and `check-expiration`: the certificates, their problems (exit code 1), and kubeadm's table of expiry. */
import type { Command } from 'commander';
import { alignColumns } from '#stdx/columns.ts';
import { UserError } from '#deploy/data-dir.ts';
import { inspectCertificates, type CertificateRow } from '#deploy/phases/certificates-check.ts';
import { formatTime } from '#machinery/time.ts';
import { action, print } from '../context.ts';
import { addLayoutOptions, certificateSet, type LayoutOptions } from './layout.ts';

interface Options extends LayoutOptions {
  readonly output?: string;
}

export function register(certs: Command): void {
  addLayoutOptions(certs.command('list').description('every certificate: for whom, of whom, until when'))
    .option('-o, --output <format>', 'text or json', 'text')
    .action(action((options: Options) => show(options, listLines)));
  addLayoutOptions(
    certs.command('check-expiration').description('when certificates end, as kubeadm shows it'),
  )
    .option('-o, --output <format>', 'text or json', 'text')
    .action(action((options: Options) => show(options, expirationLines)));
  addLayoutOptions(
    certs.command('check').description('verify keys, chains and ends; exit code 1 when something is wrong'),
  ).action(action(check));
}

type Lines = (rows: readonly CertificateRow[], nowMs: number) => readonly string[];

async function show({ output = 'text', ...layout }: Options, lines: Lines): Promise<void> {
  if (output !== 'text' && output !== 'json')
    throw new UserError(`--output is "${output}"; it should be text or json.`);
  const nowMs = Date.now();
  const rows = await inspectCertificates(await certificateSet(layout), { nowMs });
  if (output === 'json') return print(JSON.stringify(rows.map(asJson), undefined, 2));
  for (const line of lines(rows, nowMs)) print(line);
}

async function check(layout: LayoutOptions): Promise<void> {
  const rows = await inspectCertificates(await certificateSet(layout), { nowMs: Date.now() });
  const problems = rows.flatMap((row) => row.problems);
  for (const warning of rows.flatMap((row) => row.warnings)) print(`warning: ${warning}`);
  for (const problem of problems) print(`problem: ${problem}`);
  if (problems.length === 0) return print(`${rows.length} certificates are good`);
  process.exitCode = 1;
}

function asJson({ certificate, ...row }: CertificateRow): unknown {
  if (!certificate) return row;
  const { notBeforeMs, notAfterMs, renewalMs, ...rest } = certificate;
  return {
    ...row,
    ...rest,
    notBefore: formatTime(notBeforeMs),
    notAfter: formatTime(notAfterMs),
    ...(renewalMs === undefined ? {} : { renewal: formatTime(renewalMs) }),
  };
}

function listLines(rows: readonly CertificateRow[]): readonly string[] {
  return alignColumns([
    ['NAME', 'SUBJECT', 'AUTHORITY', 'EXPIRES', 'RENEWED', 'NAMES'],
    ...rows.map(({ name, authority, certificate, isExternal, problems }) => [
      name,
      certificate ? subjectText(certificate) : (problems[0] ?? ''),
      authority ?? (isExternal ? '(external)' : '(own key)'),
      certificate ? formatTime(certificate.notAfterMs) : '',
      certificate?.renewalMs === undefined || isExternal ? '-' : formatTime(certificate.renewalMs),
      certificate?.altNames.join(',') ?? '',
    ]),
  ]);
}

function subjectText({
  commonName,
  organizations,
}: {
  readonly commonName: string;
  readonly organizations: readonly string[];
}): string {
  return [...organizations.map((name) => `O=${name}`), `CN=${commonName}`].join(',');
}

function expirationLines(rows: readonly CertificateRow[], nowMs: number): readonly string[] {
  const cells = (row: CertificateRow): string[] => [
    expires(row),
    row.certificate ? residualTime(row.certificate.notAfterMs - nowMs) : '',
  ];
  const external = ({ isExternal }: CertificateRow): string => (isExternal ? 'yes' : 'no');
  const leaves = rows.filter(({ kind }) => kind !== 'authority');
  const authorities = rows.filter(({ kind }) => kind === 'authority');
  return [
    ...alignColumns([
      ['CERTIFICATE', 'EXPIRES', 'RESIDUAL TIME', 'CERTIFICATE AUTHORITY', 'EXTERNALLY MANAGED'],
      ...leaves.map((row) => [row.name, ...cells(row), row.authority ?? '', external(row)]),
    ]),
    '',
    ...alignColumns([
      ['CERTIFICATE AUTHORITY', 'EXPIRES', 'RESIDUAL TIME', 'EXTERNALLY MANAGED'],
      ...authorities.map((row) => [row.name, ...cells(row), external(row)]),
    ]),
  ];
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function expires({ name, certificate, problems }: CertificateRow): string {
  if (!certificate) return problems[0]?.endsWith('is missing') ? `!MISSING! ${name}` : '!DAMAGED!';
  const [, year = '', month = '', day = '', time = ''] =
    /^(\d+)-(\d+)-(\d+)T(\d+:\d+):/.exec(formatTime(certificate.notAfterMs)) ?? [];
  return `${MONTHS[Number(month) - 1]} ${day}, ${year} ${time} UTC`;
}

const UNITS = [
  ['y', 365 * 86_400],
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
] as const;

/** As upstream's ShortHumanDuration. */
function residualTime(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < -1) return '<invalid>';
  const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? UNITS[4];
  return `${Math.max(0, Math.floor(seconds / size))}${unit}`;
}
