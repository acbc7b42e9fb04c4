/**
 * The model as HAProxy's configuration: one text, with the files that it names. Endpoints are servers in slots, of which a backend has some more than endpoints, so that the
 * runtime API fills them without a reload. Pure. Follows the configuration manual of HAProxy 2.6.
 */
import { assert } from '#stdx/assert.ts';
import { hasControlCharacters, isPlainWord, shortHash } from '../words.ts';
import type {
  Backend,
  Filter,
  GatewayModel,
  HeaderChange,
  Listener,
  PathChange,
  Redirect,
  RequestMatch,
  ValueMatch,
  VirtualHost,
} from '../model.ts';

export interface RenderedConfig {
  /** Everything that a change of needs a reload for; endpoints are not in it. */
  readonly structure: string;
  readonly config: string;
  /** By name, in the directory of the configuration. */
  readonly files: ReadonlyMap<string, string>;
  /** By backend, as its servers should be. */
  readonly slots: ReadonlyMap<string, readonly Slot[]>;
}

/** Undefined address: nobody is there. */
export interface Slot {
  readonly address: string | undefined;
  readonly port: number;
  readonly weight: number;
}

interface RenderOptions {
  readonly dir: string;
  /** Programs of the worker. Undefined: it stays who it is. */
  readonly user?: string | undefined;
  /** Of each family that the machine has. */
  readonly listenOn: readonly string[];
  /** Slots that the running configuration has, by backend: they are not fewer as long as the endpoints fit. */
  readonly slotsBefore: ReadonlyMap<string, number>;
}

const MINIMUM_SLOTS = 4;
const MAXIMUM_WEIGHT = 256;
/** Of connections that outlive a reload: WebSockets and streams end then. */
const HARD_STOP = '1h';
const ANY_HOST = 'any';

export function renderConfig(model: GatewayModel, options: RenderOptions): RenderedConfig {
  const files = new Map<string, string>();
  const slots = new Map(
    model.backends.map((backend) => [backend.id, slotsOf(backend, options.slotsBefore.get(backend.id))]),
  );
  const frontends = model.listeners.flatMap((listener) =>
    listener.passthrough ? passthroughFrontend(listener, options) : frontend(listener, { ...options, files }),
  );
  const render = (servers: (backend: Backend) => readonly string[]): string =>
    [
      ...head(options),
      ...frontends,
      ...model.backends.flatMap((one) => [...backendLines(one), ...servers(one)]),
      '',
    ].join('\n');
  return {
    config: render((backend) => serverLines(backend, slots.get(backend.id)!)),
    structure: JSON.stringify([
      render((backend) => [`${slots.get(backend.id)!.length} ${backend.protocol}`]),
      [...files],
    ]),
    files,
    slots,
  };
}

function head({ dir, user }: RenderOptions): string[] {
  return [
    'global',
    `  stats socket ${dir}/worker.sock mode 600 level admin expose-fd listeners`,
    `  hard-stop-after ${HARD_STOP}`,
    '  tune.bufsize 32768',
    '  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets',
    '  ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305',
    ...(user === undefined ? [] : [`  user ${user}`]),
    'defaults',
    '  mode http',
    '  option http-keep-alive',
    '  option redispatch',
    '  retries 3',
    '  retry-on conn-failure empty-response',
    '  timeout connect 3s',
    '  timeout client 5m',
    '  timeout server 5m',
    '  timeout http-request 30s',
    '  timeout http-keep-alive 60s',
    '  timeout tunnel 1h',
    'backend not-found',
    '  http-request return status 404 content-type text/plain string "404 page not found"',
  ];
}

function frontend(
  { port, certificates, hosts }: Listener,
  { dir, listenOn, files }: RenderOptions & { readonly files: Map<string, string> },
): string[] {
  const tls = certificates ? tlsWords(certificates, { dir, port, files }) : '';
  const ids = new Map(hosts.map((host, index) => [host, host.hostname === '' ? ANY_HOST : `h${index}`]));
  const exact = hosts.filter(({ hostname }) => hostname !== '' && !hostname.startsWith('*.'));
  const wild = hosts
    .filter(({ hostname }) => hostname.startsWith('*.'))
    .toSorted((a, b) => b.hostname.length - a.hostname.length);
  files.set(`hosts-${port}.map`, exact.map((host) => `${word(host.hostname)} ${ids.get(host)}\n`).join(''));
  files.set(
    `wildcards-${port}.map`,
    wild.map((host) => `${wildcardRegex(host)} ${ids.get(host)}\n`).join(''),
  );
  const host = 'req.hdr(host),host_only,lower';
  const acls: string[] = [];
  const uses = hosts.flatMap((one) =>
    one.rules.map(({ match, backend }, index) => {
      const name = `${ids.get(one)}-${index}`;
      const conditions = conditionsOf(match, { name, acls });
      return `  use_backend ${backend} if { var(txn.host) -m str ${ids.get(one)} } ${conditions.join(' ')}`;
    }),
  );
  return [
    `frontend port-${port}`,
    ...listenOn.map((address) => `  bind ${address}:${port}${address.includes(':') ? ' v6only' : ''}${tls}`),
    `  http-request set-var(txn.host) ${host},map_str(${dir}/hosts-${port}.map)`,
    `  http-request set-var(txn.host) ${host},map_reg(${dir}/wildcards-${port}.map) if !{ var(txn.host) -m found }`,
    `  http-request set-var(txn.host) str(${ANY_HOST}) if !{ var(txn.host) -m found }`,
    '  option forwardfor',
    `  http-request set-header X-Forwarded-Proto ${certificates ? 'https' : 'http'}`,
    '  http-request set-header X-Forwarded-Host %[req.hdr(host)]',
    `  http-request set-header X-Forwarded-Port ${port}`,
    ...acls,
    ...uses,
    '  default_backend not-found',
  ];
}

/** By the name that the client's hello shows, without a look at what follows. Clients that name no host of a route are cut off. */
function passthroughFrontend(
  { port, passthrough = [] }: Listener,
  { listenOn }: Pick<RenderOptions, 'listenOn'>,
): string[] {
  const specificity = (hostname: string): number => (hostname.startsWith('*.') ? 0 : 1000) + hostname.length;
  const tests = (hostname: string): string => {
    if (hostname === '') return '{ req.ssl_hello_type 1 }';
    const isWild = hostname.startsWith('*.');
    return `{ req.ssl_sni,lower -m ${isWild ? 'end' : 'str'} ${word(isWild ? hostname.slice(1) : hostname)} }`;
  };
  return [
    `frontend port-${port}`,
    '  mode tcp',
    ...listenOn.map((address) => `  bind ${address}:${port}${address.includes(':') ? ' v6only' : ''}`),
    '  tcp-request inspect-delay 5s',
    '  tcp-request content accept if { req.ssl_hello_type 1 }',
    '  tcp-request content reject',
    ...passthrough
      .toSorted((a, b) => specificity(b.hostname) - specificity(a.hostname))
      .map(({ hostname, backend }) => `  use_backend ${backend} if ${tests(hostname)}`),
  ];
}

/** Without a certificate for all, clients that name another host get no answer. */
function tlsWords(
  certificates: NonNullable<Listener['certificates']>,
  {
    dir,
    port,
    files,
  }: Pick<RenderOptions, 'dir'> & { readonly port: number; readonly files: Map<string, string> },
): string {
  const lines = certificates
    .toSorted((a, b) => Number(a.hostname !== '') - Number(b.hostname !== ''))
    .map(({ hostname, certificatePem, keyPem }) => {
      const pem = `${certificatePem.trim()}\n${keyPem.trim()}\n`;
      const name = `certificate-${shortHash(pem)}.pem`;
      files.set(name, pem);
      return `${dir}/${name}${hostname === '' ? '' : ` ${word(hostname)}`}\n`;
    });
  files.set(`certificates-${port}.list`, lines.join(''));
  const isStrict = !certificates.some(({ hostname }) => hostname === '');
  return ` ssl crt-list ${dir}/certificates-${port}.list alpn h2,http/1.1${isStrict ? ' strict-sni' : ''}`;
}

function wildcardRegex({ hostname, wildcard }: VirtualHost): string {
  const label = wildcard === 'one label' ? '[^.]+' : '.+';
  return `^${label}${word(hostname.slice(1)).replaceAll('.', '\\.')}$`;
}

function conditionsOf(
  { path, method, headers = [], query = [] }: RequestMatch,
  { name, acls }: { readonly name: string; readonly acls: string[] },
): string[] {
  const used: string[] = [];
  const acl = (suffix: string, ...tests: readonly string[]): void => {
    for (const test of tests) acls.push(`  acl ${name}-${suffix} ${test}`);
    used.push(`${name}-${suffix}`);
  };
  const { kind, value } = path;
  const prefix = value.replace(/\/+$/, '');
  if (kind === 'Exact') acl('path', `path -m str ${quoted(value)}`);
  else if (kind === 'Regex') acl('path', `path -m reg ${quoted(`^(?:${value})$`)}`);
  // By elements: /a takes /a and /a/b, not /ab.
  else if (prefix !== '') acl('path', `path -m str ${quoted(prefix)}`, `path -m beg ${quoted(`${prefix}/`)}`);
  if (method !== undefined) acl('method', `method -m str ${word(method)}`);
  for (const [index, one] of headers.entries())
    acl(`header-${index}`, valueTest(`req.fhdr(${word(one.name)})`, one));
  for (const [index, one] of query.entries())
    acl(`query-${index}`, valueTest(`url_param(${word(one.name)})`, one));
  return used;
}

function valueTest(fetch: string, { kind, value }: ValueMatch): string {
  return kind === 'Exact'
    ? `${fetch} -m str -- ${quoted(value)}`
    : `${fetch} -m reg -- ${quoted(`^(?:${value})$`)}`;
}

function backendLines({
  id,
  targets,
  invalidWeight,
  protocol,
  filters,
  timeoutMs,
  retry,
  maximumBodyBytes,
}: Backend): string[] {
  const total = targets.reduce((sum, { weight }) => sum + weight, 0) + invalidWeight;
  const redirects = filters.some(({ kind }) => kind === 'Redirect');
  if (protocol === 'tcp')
    return [
      `backend ${id}`,
      '  mode tcp',
      '  balance roundrobin',
      '  retry-on conn-failure',
      ...(invalidWeight > 0
        ? [`  tcp-request content reject if { rand(${total}) lt ${invalidWeight} }`]
        : []),
    ];
  return [
    `backend ${id}`,
    '  balance roundrobin',
    ...(timeoutMs === undefined || timeoutMs === 0 ? [] : [`  timeout server ${timeoutMs}ms`]),
    ...(retry
      ? [
          `  retries ${retry.attempts}`,
          `  retry-on conn-failure empty-response ${retry.codes.join(' ')}`.trimEnd(),
        ]
      : []),
    ...(maximumBodyBytes === undefined
      ? []
      : [`  http-request deny deny_status 413 if { req.hdr_val(content-length) gt ${maximumBodyBytes} }`]),
    ...(redirects || invalidWeight === 0
      ? []
      : [
          `  http-request return status 500${total > invalidWeight ? ` if { rand(${total}) lt ${invalidWeight} }` : ''}`,
        ]),
    ...filters.flatMap(filterLines),
  ];
}

function filterLines(filter: Filter): string[] {
  switch (filter.kind) {
    case 'RequestHeaders':
      return headerLines('http-request', filter.change);
    case 'ResponseHeaders':
      return headerLines('http-response', filter.change);
    case 'Redirect':
      return [redirectLine(filter.redirect)];
    case 'Rewrite':
      return [
        ...(filter.hostname === undefined ? [] : [`  http-request set-header Host ${word(filter.hostname)}`]),
        ...(filter.path === undefined ? [] : [`  http-request set-path ${newPath(filter.path)}`]),
      ];
  }
}

function headerLines(when: string, { set, add, remove }: HeaderChange): string[] {
  return [
    ...set.map(({ name, value }) => `  ${when} set-header ${word(name)} ${formatted(value)}`),
    ...add.map(({ name, value }) => `  ${when} add-header ${word(name)} ${formatted(value)}`),
    ...remove.map((name) => `  ${when} del-header ${word(name)}`),
  ];
}

function redirectLine({ scheme, hostname, port, path, status }: Redirect): string {
  const toScheme = scheme === undefined ? '%[req.hdr(X-Forwarded-Proto)]' : word(scheme);
  const host = hostname === undefined ? '%[req.hdr(host),host_only]' : word(hostname);
  const isUsual =
    port === undefined || (scheme === 'http' && port === 80) || (scheme === 'https' && port === 443);
  // Without a scheme and a port, that of the request stays, as far as it is not the usual one.
  const authority = `${host}${port !== undefined && !isUsual ? `:${port}` : ''}`;
  return [
    `  http-request set-var(txn.query) query,regsub(^,?) if { query -m found }`,
    `  http-request redirect code ${status} location ${toScheme}://${authority}${path === undefined ? '%[path]' : newPath(path)}%[var(txn.query)]`,
  ].join('\n');
}

/** As a log format. */
function newPath(path: PathChange): string {
  if (path.kind === 'Full') return formatted(path.value);
  const to = path.value.replace(/\/+$/, '');
  if (path.prefix === '') return `${to === '' ? '' : formatted(to)}%[path]`;
  // What follows the prefix, with its slash; the root where nothing is left.
  const rest = `path,bytes(${Buffer.byteLength(path.prefix)})`;
  return to === '' ? `%[${rest},regsub(^/*,/)]` : `${formatted(to)}%[${rest}]`;
}

function serverLines({ protocol }: Backend, slots: readonly Slot[]): string[] {
  return slots.map(({ address, port, weight }, index) => {
    const at = address === undefined ? '127.0.0.1:1' : `${address}:${port}`;
    return `  server s${index} ${at} weight ${weight}${protocol === 'h2c' ? ' proto h2' : ''}${address === undefined ? ' disabled' : ''}`;
  });
}

function slotsOf({ targets }: Backend, before = 0): Slot[] {
  const shares = targets.flatMap(({ weight, endpoints }) =>
    weight === 0 ? [] : endpoints.map((endpoint) => ({ ...endpoint, share: weight / endpoints.length })),
  );
  const most = Math.max(...shares.map(({ share }) => share), 0);
  const used = shares.map(({ ip, port, share }) => ({
    address: ip,
    port,
    weight: Math.max(1, Math.round((share / most) * MAXIMUM_WEIGHT)),
  }));
  const count = Math.max(before, MINIMUM_SLOTS);
  const room = used.length <= count ? count : 2 ** Math.ceil(Math.log2(used.length));
  return [
    ...used,
    ...Array.from({ length: room - used.length }, () => ({ address: undefined, port: 1, weight: 1 })),
  ];
}

/** One word without anything that the configuration gives a meaning: names, which the API has checked. */
function word(text: string): string {
  assert(isPlainWord(text), `${JSON.stringify(text)} is not one plain word`);
  return text;
}

/** One argument, taken as it is. */
function quoted(text: string): string {
  requireOneLine(text);
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** One argument that is a log format: percent signs are doubled. */
function formatted(text: string): string {
  return quoted(text.replaceAll('%', '%%'));
}

function requireOneLine(text: string): void {
  assert(!hasControlCharacters(text), `${JSON.stringify(text)} has control characters`);
}
