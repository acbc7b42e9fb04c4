/**
 * What runs in the pods of real conformance tests: a server whose answers show who answered and who asked. Built into an image by images.ts and run
 * by the Node in it, so it imports nothing of this repository. The first argument chooses:
 *
 *   serve                   HTTP: /hostname /clientip /echo?msg= /calls /health /dial?…, any other path describes its request; UDP: hostname, clientip, echo TEXT
 *   grpc                    gRPC health, always SERVING
 *   guestbook ROLE          primary, replica or frontend of a guestbook whose parts find each other by the services 'primary' and 'replica'
 *   answers                 a text on each port: ANSWERS and TLS_ANSWERS are JSON objects from port to text; TLS_KEY and TLS_CERT are PEM
 *   ask PROTOCOL HOST PORT  says who answers there, over http or udp
 *   resolve TYPE:NAME…      asks for names as this pod does, and prints what it finds as JSON: addresses by the C library, others by its search list
 *
 * Settings are environment variables: HTTP_PORT (8080; several with commas), UDP_PORT (8081), HEALTHY_MS (how long /health is well), GRPC_PORT (5000).
 */
import { createSocket } from 'node:dgram';
import { lookup, resolve } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import { hostname } from 'node:os';

const [mode = 'serve', role = ''] = process.argv.slice(2);
const setting = (name: string, usual: string): string => process.env[name] ?? usual;
const startedAt = performance.now();
/** Method and target of each request to /calls/…, oldest first. */
const calls: string[] = [];

process.on('SIGTERM', () => process.exit(0));

function peerOf({ socket }: IncomingMessage): string {
  return `${(socket.remoteAddress ?? '').replace('::ffff:', '')}:${socket.remotePort}`;
}

/** One request of /dial: who answers at the address? */
function askHttp(host: string, port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = get({ host, port, path, agent: false, timeout: 2000 }, (response) => {
      let text = '';
      response
        .setEncoding('utf8')
        .on('data', (part: string) => {
          text += part;
        })
        .on('end', () => resolve(text));
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('timed out'))).on('error', reject);
  });
}

function askUdp(host: string, port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const end = (act: () => void): void => {
      clearTimeout(timer);
      socket.close();
      act();
    };
    const timer = setTimeout(() => end(() => reject(new Error('timed out'))), 1000);
    socket
      .on('message', (message) => end(() => resolve(message.toString())))
      .on('error', (error) => end(() => reject(error)));
    socket.send(request, port, host);
  });
}

/** tries requests, one after the other, each from a port of its own. */
async function dial(query: URLSearchParams): Promise<{ responses: string[]; errors: string[] }> {
  const responses: string[] = [];
  const errors: string[] = [];
  const [host = '', port, request = 'hostname'] = [
    query.get('host') ?? '',
    Number(query.get('port')),
    query.get('request') ?? 'hostname',
  ];
  for (let left = Number(query.get('tries') ?? 1); left > 0; left -= 1) {
    await (
      query.get('protocol') === 'udp' ? askUdp(host, port, request) : askHttp(host, port, `/${request}`)
    ).then(
      (text) => responses.push(text),
      (error: Error) => errors.push(error.message),
    );
  }
  return { responses, errors };
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://pod');
  const text = (body: string, status = 200): void =>
    void response.writeHead(status, { 'content-type': 'text/plain' }).end(body);
  if (pathname === '/hostname') return text(hostname());
  if (pathname === '/clientip') return text(peerOf(request));
  if (pathname === '/echo') return text(searchParams.get('msg') ?? '');
  if (pathname === '/health')
    return performance.now() - startedAt < Number(setting('HEALTHY_MS', 'Infinity'))
      ? text('ok')
      : text('not well', 500);
  if (pathname === '/dial') return text(JSON.stringify(await dial(searchParams)));
  if (pathname === '/redirect')
    return void response.writeHead(302, { location: searchParams.get('to') ?? '/' }).end();
  if (pathname === '/calls') return text(calls.join('\n'));
  if (pathname.startsWith('/calls/')) calls.push(`${request.method} ${request.url}`);
  let body = '';
  for await (const part of request) body += String(part);
  const answer = JSON.stringify({
    hostname: hostname(),
    method: request.method,
    url: request.url,
    port: request.socket.localPort,
    headers: request.headers,
    body,
  });
  response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
}

function startServe(): void {
  for (const port of setting('HTTP_PORT', '8080').split(','))
    createServer((request, response) => void serve(request, response)).listen(Number(port));
  const udp = createSocket('udp4');
  udp.on('message', (message, { address, port }) => {
    const [word = '', ...rest] = message.toString().trim().split(' ');
    udp.send(
      word === 'hostname' ? hostname() : word === 'clientip' ? `${address}:${port}` : rest.join(' '),
      port,
      address,
    );
  });
  udp.bind(Number(setting('UDP_PORT', '8081')));
}

/** grpc.health.v1.Health/Check: one frame that holds HealthCheckResponse { status: SERVING }, then trailers. */
function startGrpc(): void {
  createHttp2()
    .on('stream', (stream) => {
      console.log('called');
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.on('error', () => {});
      stream.resume();
      stream.end(Buffer.from([0, 0, 0, 0, 2, 0x08, 1]));
    })
    .listen(Number(setting('GRPC_PORT', '5000')));
}

const entries = new Map<string, string>();
const replicas = new Set<string>();

/** The primary hands each write on to its replicas before it answers. */
async function guestbook(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, search, searchParams } = new URL(request.url ?? '/', 'http://pod');
  const [key, value] = [searchParams.get('key') ?? '', searchParams.get('value') ?? ''];
  const answer = (body: object, status = 200): void =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  try {
    if (role === 'frontend')
      return answer(
        JSON.parse(
          pathname === '/set'
            ? await askHttp('primary', 6379, `/set${search}`)
            : await askHttp('replica', 6379, `/get${search}`),
        ),
      );
    if (pathname === '/register') replicas.add(peerOf(request).split(':')[0] ?? '');
    if (pathname === '/set') {
      entries.set(key, value);
      if (role === 'primary') for (const replica of replicas) await askHttp(replica, 6379, `/set${search}`);
      return answer({ message: 'Updated' });
    }
    return answer(pathname === '/register' ? Object.fromEntries(entries) : { data: entries.get(key) ?? '' });
  } catch (error) {
    answer({ error: String(error) }, 502);
  }
}

async function register(): Promise<void> {
  try {
    for (const [key, value] of Object.entries(
      JSON.parse(await askHttp('primary', 6379, '/register')) as Record<string, string>,
    ))
      entries.set(key, value);
    console.log('registered');
  } catch {
    setTimeout(() => void register(), 200);
  }
}

function startAnswers(): void {
  const answersOf = (name: string): [port: string, text: string][] =>
    Object.entries(JSON.parse(setting(name, '{}')) as Record<string, string>);
  const say =
    (text: string) =>
    (_: IncomingMessage, response: ServerResponse): void =>
      void response
        .writeHead(200, { 'content-type': text.startsWith('<') ? 'text/html' : 'text/plain' })
        .end(text);
  for (const [port, text] of answersOf('ANSWERS')) createServer(say(text)).listen(Number(port));
  const tls = { key: setting('TLS_KEY', ''), cert: setting('TLS_CERT', '') };
  for (const [port, text] of answersOf('TLS_ANSWERS')) createHttps(tls, say(text)).listen(Number(port));
}

/** One name with these records; the first of the search list that has some. */
async function find(type: string, name: string): Promise<readonly unknown[]> {
  if (type === 'A') return (await lookup(name, { all: true, family: 4 })).map(({ address }) => address);
  const searches = /^search (.*)$/m.exec(readFileSync('/etc/resolv.conf', 'utf8'))?.[1]?.split(' ') ?? [];
  for (const full of [...(name.endsWith('.') ? [] : searches.map((search) => `${name}.${search}`)), name]) {
    const found = (await resolve(full, type).catch(() => [])) as readonly unknown[];
    if (found.length > 0) return found;
  }
  return [];
}

async function resolveAll(questions: readonly string[]): Promise<void> {
  const answers = await Promise.all(
    questions.map(async (question) => {
      const [type = '', name = ''] = question.split(':');
      return [question, await find(type, name).catch(() => [])] as const;
    }),
  );
  console.log(JSON.stringify(Object.fromEntries(answers)));
}

if (mode === 'grpc') startGrpc();
else if (mode === 'answers') startAnswers();
else if (mode === 'ask')
  console.log(
    await (role === 'udp' ? askUdp : askHttp)(
      process.argv[4] ?? '',
      Number(process.argv[5]),
      role === 'udp' ? 'hostname' : '/hostname',
    ),
  );
else if (mode === 'resolve') void resolveAll(process.argv.slice(3));
else if (mode === 'guestbook') {
  createServer((request, response) => void guestbook(request, response)).listen(
    role === 'frontend' ? 80 : 6379,
  );
  if (role === 'replica') void register();
} else startServe();
