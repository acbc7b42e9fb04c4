/**
 * The connected subresources between real clients (kubectl 1.35 and 1.32, a WebSocket library) and a kubelet made here of our own
 * server halves, over TLS with client certificates.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect, createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server as TcpServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import 'reflect-metadata';
import { BasicConstraintsExtension, PemConverter, X509CertificateGenerator } from '@peculiar/x509';
import { WebSocket } from 'ws';
import type { RawData } from 'ws';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import { servePortForward } from '#machinery/streams/portforward.ts';
import { PROTOCOL_HEADER } from '#machinery/streams/remotecommand.ts';
import { SpdyConnection } from '#machinery/streams/spdy.ts';
import { acceptRemoteCommand } from '#machinery/streams/spdy-remotecommand.ts';
import type { RemoteCommandSession } from '#machinery/streams/spdy-remotecommand.ts';
import { responseHead } from '#machinery/streams/upgrade.ts';
import { foreignTools } from '#testing/foreign-tools.ts';
import type { ConnectCall } from './connect.ts';
import type { ApiRequest, ResponseSink } from '../../http/request.ts';
import type { InternalApi } from '../../registry/loopback-client.ts';
import { parseRequestInfo } from '../../http/request-info.ts';
import { createStreams } from './streams.ts';
import type { Streams } from './streams.ts';

const objects = new Map<string, KubeObject>();
const internal = {
  get: ({ resource }: { resource: string }, { name, namespace }: { name: string; namespace?: string }) =>
    objects.get(`${resource}/${namespace ?? ''}/${name}`),
  list: ({ resource }: { resource: string }) =>
    [...objects].filter(([key]) => key.startsWith(`${resource}/`)).map(([, object]) => object),
} as unknown as InternalApi;

let streams: Streams;
let api: Server;
let kubelet: Server;
let backend: Server;
let echo: TcpServer;
let apiUrl: string;
const PAGE = '<a href="/elsewhere">x</a> "/elsewhere"';
/** Subprotocols that clients asked the API server for. */
const upgrades: string[] = [];
/** What the kubelet was asked, newest last. */
const asked: { readonly path: string; readonly query: URLSearchParams; readonly client: string }[] = [];

before(async () => {
  const serving = await certificate('kubelet');
  const client = await certificate('apiserver-kubelet-client');
  kubelet = createHttpsServer({ ...serving, requestCert: true, rejectUnauthorized: false }, kubeletHttp);
  kubelet.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
    kubeletUpgrade(request, { socket, head }),
  );
  backend = createHttpServer((request, response) => {
    if (request.url === '/redirect') response.writeHead(302, { location: '/elsewhere?x=1' }).end();
    else if (request.url === '/page')
      response
        .writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-length': PAGE.length })
        .end(PAGE);
    else if (request.url === '/page.gz')
      response
        .writeHead(200, { 'content-type': 'text/html', 'content-encoding': 'gzip' })
        .end(gzipSync(PAGE));
    else
      response
        .setHeader('set-cookie', ['a=1', 'b=2'])
        .end(
          `${request.method} ${request.url} auth=${request.headers.authorization} for=${request.headers['x-forwarded-for']} host=${request.headers.host}`,
        );
  });
  backend.on('upgrade', (_request: IncomingMessage, socket: Duplex) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.pipe(socket);
  });
  echo = createTcpServer((socket) => void socket.pipe(socket));
  api = createHttpServer((request, response) => void apiHttp(request, response));
  api.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    upgrades.push(request.headers['sec-websocket-protocol'] ?? '');
    socket.on('error', () => {});
    streams.upgrade(callOf(request), { socket, head }).catch((error: unknown) => refuse(socket, error));
  });
  for (const server of [kubelet, backend, echo, api])
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  apiUrl = `http://127.0.0.1:${portOf(api)}`;
  streams = createStreams({ kubeletTls: () => client });
  putObjects();
});

after(() => {
  streams.close();
  for (const server of [kubelet, backend, echo, api]) server.close();
});

function portOf(server: TcpServer): number {
  return (server.address() as AddressInfo).port;
}

function putObjects(): void {
  const put = (resource: string, object: KubeObject): unknown =>
    objects.set(`${resource}/${object.metadata?.namespace ?? ''}/${object.metadata?.name}`, object);
  const pod = (name: string, spec: object): KubeObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec,
    status: { phase: 'Running', podIP: '10.9.9.9' },
  });
  put('nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1' },
    status: {
      addresses: [
        { type: 'Hostname', address: 'n1' },
        { type: 'InternalIP', address: '127.0.0.1' },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: portOf(kubelet) } },
    },
  });
  put('nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'dead' },
    status: {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: 1 } },
    },
  });
  put('pods', pod('web', { nodeName: 'n1', containers: [{ name: 'main' }] }));
  put(
    'pods',
    pod('two', {
      nodeName: 'n1',
      containers: [{ name: 'a' }, { name: 'b' }],
      initContainers: [{ name: 'i' }],
    }),
  );
  put('pods', pod('unscheduled', { containers: [{ name: 'main' }] }));
  put('pods', pod('orphan', { nodeName: 'dead', containers: [{ name: 'main' }] }));
  put('services', {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'svc', namespace: 'default' },
    spec: { ports: [{ name: 'http', port: 80 }] },
  } as KubeObject);
}

// ---- the kubelet ------------------------------------------------------------------------------------------------------------------------

function note(request: IncomingMessage): URL {
  const url = new URL(request.url ?? '/', 'http://kubelet');
  const certificateOf = (request.socket as TLSSocket).getPeerCertificate();
  asked.push({ path: url.pathname, query: url.searchParams, client: String(certificateOf.subject?.CN) });
  return url;
}

function kubeletHttp(request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = note(request);
  if (!pathname.startsWith('/containerLogs/')) return void response.end(`kubelet ${request.url}`);
  if (searchParams.get('previous'))
    return void response.writeHead(400).end('previous terminated container "main" in pod "web" not found');
  response.setHeader('content-type', 'text/plain');
  response.write('line 1\n');
  if (searchParams.get('follow')) setTimeout(() => response.end('line 2\n'), 100);
  else response.end();
}

function kubeletUpgrade(
  request: IncomingMessage,
  { socket, head }: { readonly socket: Duplex; readonly head: Buffer },
): void {
  const { pathname, searchParams } = note(request);
  if (pathname.endsWith('/i'))
    return void socket.end(
      'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 34\r\nConnection: close\r\n\r\nunable to find container not alive',
    );
  const protocol = (request.headersDistinct[PROTOCOL_HEADER] ?? [])[0] ?? 'channel.k8s.io';
  socket.write(
    responseHead({
      status: 101,
      reason: 'Switching Protocols',
      headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1', [PROTOCOL_HEADER]: protocol },
    }),
  );
  if (pathname.startsWith('/portForward/')) {
    new SpdyConnection(socket, {
      role: 'server',
      head,
      onStream: servePortForward({ pod: 'web', connect: dial }),
    });
    return;
  }
  const flag = (name: string): boolean => searchParams.get(name) === '1';
  const accepted = acceptRemoteCommand({
    protocol,
    options: { stdin: flag('input'), stdout: flag('output'), stderr: flag('error'), tty: flag('tty') },
  });
  const connection = new SpdyConnection(socket, { role: 'server', head, onStream: accepted.onStream });
  void accepted.session
    .then((session) => runCommand(searchParams.getAll('command'), session))
    .then(() => connection.close());
}

function dial(port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(socket));
    socket.on('error', reject);
  });
}

/** 'echo WORDS', 'cat', 'fail CODE', 'size'. */
async function runCommand([command, ...args]: string[], session: RemoteCommandSession): Promise<void> {
  if (command === 'echo') session.stdout?.write(`${args.join(' ')}\n`);
  if (command === 'cat' && session.stdin)
    for await (const part of session.stdin as AsyncIterable<Buffer>)
      await new Promise<void>((done) => session.stdout?.write(part, () => done()));
  if (command === 'size')
    for await (const size of session.resize ?? []) {
      session.stdout?.write(`${size.Width}x${size.Height}`);
      break;
    }
  if (command === 'fail') session.stderr?.write('it failed\n');
  await session.finish(command === 'fail' ? Number(args[0]) : 0);
}

// ---- the API server -----------------------------------------------------------------------------------------------------------------------

function callOf(message: IncomingMessage): ConnectCall {
  const [path = '/', query = ''] = (message.url ?? '/').split('?');
  const request: ApiRequest = {
    method: message.method ?? 'GET',
    path,
    query,
    headers: message.headers as Record<string, string | undefined>,
    remoteAddress: '192.0.2.1',
    async body() {
      const parts: Buffer[] = [];
      for await (const part of message as AsyncIterable<Buffer>) parts.push(part);
      return Buffer.concat(parts);
    },
    onAbort: (callback) => void message.socket.once('close', callback),
  };
  const info = parseRequestInfo(request);
  return {
    request,
    info,
    user: { username: 'admin', groups: [] } as unknown as UserInfo,
    object: objects.get(`${info.resource}/${info.namespace}/${info.name}`),
    internal,
  };
}

async function apiHttp(message: IncomingMessage, response: ServerResponse): Promise<void> {
  const call = callOf(message);
  const discovery: Readonly<Record<string, object>> = {
    '/api': { kind: 'APIVersions', versions: ['v1'] },
    '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [] },
    '/api/v1': {
      kind: 'APIResourceList',
      groupVersion: 'v1',
      resources: [
        { name: 'pods', singularName: 'pod', namespaced: true, kind: 'Pod', verbs: ['get', 'list'] },
      ],
    },
  };
  const known = discovery[call.request.path] ?? (call.info.subresource === '' ? call.object : undefined);
  response.setHeader('content-type', 'application/json');
  if (known) return void response.end(JSON.stringify(known));
  try {
    const answer = await streams.request(call);
    for (const name in answer.repeated) response.setHeader(name, answer.repeated[name]!);
    response.writeHead(answer.status, answer.headers);
    if (typeof answer.body === 'function') answer.body(sinkOf(response));
    else response.end(answer.body as Buffer);
  } catch (error) {
    response
      .writeHead(isStatusError(error) ? error.code : 500)
      .end(JSON.stringify(isStatusError(error) ? error.status : { message: String(error) }));
  }
}

function sinkOf(response: ServerResponse): ResponseSink {
  return {
    write: (chunk) => response.write(chunk),
    drained: () => new Promise((resolve) => response.once('drain', resolve)),
    bufferedBytes: 0,
    end: () => void response.end(),
    get closed() {
      return response.destroyed;
    },
    onClose: (callback) => void response.on('close', callback),
  };
}

function refuse(socket: Duplex, error: unknown): void {
  const body = JSON.stringify(isStatusError(error) ? error.status : { message: String(error) });
  socket.end(
    `${responseHead({ status: isStatusError(error) ? error.code : 500, reason: 'Refused', headers: { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)), connection: 'close' } })}${body}`,
  );
}

async function certificate(commonName: string): Promise<{ readonly cert: string; readonly key: string }> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ]);
  const made = await X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=${commonName}`,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [new BasicConstraintsExtension(false)],
  });
  return {
    cert: made.toString('pem'),
    key: PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'),
  };
}

// ---- plain requests -----------------------------------------------------------------------------------------------------------------------

async function get(
  path: string,
  init: RequestInit = {},
): Promise<{
  readonly status: number;
  readonly text: string;
  readonly message: string;
  readonly headers: Headers;
}> {
  const response = await fetch(`${apiUrl}${path}`, { redirect: 'manual', ...init });
  const text = await response.text();
  const message = text.startsWith('{') ? ((JSON.parse(text) as { message?: string }).message ?? '') : '';
  return { status: response.status, text, message, headers: response.headers };
}

const PODS = '/api/v1/namespaces/default/pods';

test("logs come from the kubelet, with the API server's certificate and checked options", async () => {
  assert.equal((await get(`${PODS}/web/log?follow=true&tailLines=5&timestamps=0`)).text, 'line 1\nline 2\n');
  const { path, query, client } = asked.at(-1) ?? assert.fail();
  assert.deepEqual(
    [path, query.toString(), client],
    ['/containerLogs/default/web/main', 'follow=true&tailLines=5', 'apiserver-kubelet-client'],
  );
  assert.deepEqual(
    await get(`${PODS}/web/log?previous=true`).then(({ status, message }) => [status, message]),
    [400, 'previous terminated container "main" in pod "web" not found'],
  );
  assert.equal((await get(`${PODS}/web/log?container=x`)).message, 'container x is not valid for pod web');
  assert.equal(
    (await get(`${PODS}/two/log`)).message,
    'a container name must be specified for pod two, choose one of: [i a b]',
  );
  assert.equal((await get(`${PODS}/unscheduled/log`)).status, 204);
  assert.equal((await get(`${PODS}/none/log`)).status, 404);
  for (const [query, message] of [
    ['sinceTime=x', 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'],
    ['stream=All', 'PodLogOptions "web" is invalid: stream: Forbidden: may not be specified'],
  ] as const) {
    assert.equal((await get(`${PODS}/web/log?${query}`)).message, message);
  }
  assert.match(
    (await get(`${PODS}/web/log?tailLines=-1`)).message,
    /PodLogOptions "web" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0/,
  );
  assert.match(
    (await get(`${PODS}/orphan/log`)).message,
    /^Get "https:\/\/127\.0\.0\.1:1\/containerLogs\/default\/orphan\/main": dial tcp 127\.0\.0\.1:1: connect: connection refused$/,
  );
});

test('exec without an upgrade is refused', async () => {
  assert.deepEqual(
    await get(`${PODS}/web/exec?command=x`, { method: 'POST' }).then(({ status, message }) => [
      status,
      message,
    ]),
    [400, 'Upgrade request required'],
  );
});

test('nodes/proxy goes to the kubelet', async () => {
  assert.equal((await get('/api/v1/nodes/n1/proxy/stats/summary?a=b')).text, 'kubelet /stats/summary?a=b');
  assert.equal(asked.at(-1)?.client, 'apiserver-kubelet-client');
  assert.deepEqual(
    await get('/api/v1/nodes/n1/proxy').then(({ status, headers }) => [status, headers.get('location')]),
    [301, '/api/v1/nodes/n1/proxy/'],
  );
  assert.match(
    (await get('/api/v1/nodes/dead/proxy/')).message,
    /^error trying to reach service: dial tcp 127\.0\.0\.1:1: connect: connection refused$/,
  );
});

test('services/proxy picks a ready endpoint of the named port', async () => {
  assert.equal(
    (await get('/api/v1/namespaces/default/services/svc:http/proxy/')).message,
    'no endpoints available for service "svc:http"',
  );
  assert.equal(
    (await get('/api/v1/namespaces/default/services/svc:81/proxy/')).message,
    'no service port 81 found for service "svc"',
  );
  assert.match(
    (await get('/api/v1/namespaces/default/services/none/proxy/')).message,
    /services "none" not found/,
  );
});

describe('a proxied backend', () => {
  // Loopback is refused as a target, so the backend is reached by an address of this machine.
  const address = machineAddress();
  test(
    'gets the path as it is, without credentials; redirects stay behind the proxy',
    { skip: address ? false : 'this machine has no address but loopback' },
    async () => {
      backend.close();
      await new Promise<void>((resolve) => backend.listen(0, '0.0.0.0', resolve));
      objects.set('endpointslices/default/svc-1', {
        metadata: { name: 'svc-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'svc' } },
        ports: [{ name: 'http', port: portOf(backend) }],
        endpoints: [
          {
            addresses: [address ?? ''],
            conditions: { ready: true },
            targetRef: { kind: 'Pod', namespace: 'default', name: 'behind' },
          },
          { addresses: ['192.0.2.9'], conditions: { ready: false } },
        ],
      });
      // An address that is no pod's, or not that pod's, is nowhere to send anything.
      for (const podIPs of [undefined, [{ ip: '192.0.2.10' }], [{ ip: address }]]) {
        assert.match(
          (await get('/api/v1/namespaces/default/services/svc:http/proxy/')).message,
          /no endpoints available/,
        );
        objects.set('pods/default/behind', {
          metadata: { name: 'behind', namespace: 'default' },
          status: { podIPs },
        });
      }
      const base = '/api/v1/namespaces/default/services/http:svc:80/proxy';
      const answer = await get(`${base}/a%2Fb/c?x=%20y`, {
        method: 'PUT',
        body: 'data',
        headers: { authorization: 'Bearer secret' },
      });
      assert.equal(
        answer.text,
        `PUT /a%2Fb/c?x=%20y auth=undefined for=192.0.2.1 host=127.0.0.1:${portOf(api)}`,
      );
      assert.deepEqual(answer.headers.getSetCookie(), ['a=1', 'b=2']);
      assert.equal((await get(`${base}/redirect`)).headers.get('location'), `${base}/elsewhere?x=1`);
      for (const page of ['/page', '/page.gz'])
        assert.equal((await get(`${base}${page}`)).text, `<a href="${base}/elsewhere">x</a> "/elsewhere"`);
      const socket = connect(portOf(api), '127.0.0.1');
      socket.write(`GET ${base}/up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`);
      const upgraded = await new Promise<string>((resolve) =>
        socket.once('data', (data) => resolve(data.toString())),
      );
      assert.match(upgraded, /^HTTP\/1\.1 101 /);
      socket.write('ping');
      assert.equal(
        await new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString()))),
        'ping',
      );
      socket.destroy();
    },
  );
});

function machineAddress(): string | undefined {
  return Object.values(networkInterfaces())
    .flat()
    .find((entry) => entry?.family === 'IPv4' && !entry.internal)?.address;
}

// ---- WebSockets ---------------------------------------------------------------------------------------------------------------------------

interface Talk {
  readonly channels: Map<number, string>;
  readonly code: number;
}

function talk(
  path: string,
  { protocol, send }: { readonly protocol: string; readonly send?: (socket: WebSocket) => void },
): Promise<Talk> {
  const socket = new WebSocket(`${apiUrl.replace('http', 'ws')}${path}`, [protocol]);
  const channels = new Map<number, string>();
  socket.on('message', (data: RawData, isBinary: boolean) => {
    const message = data as Buffer;
    const channel = isBinary ? (message[0] ?? -1) : Number(message.toString()[0]);
    const rest = isBinary ? message.subarray(1) : Buffer.from(message.subarray(1).toString(), 'base64');
    channels.set(channel, (channels.get(channel) ?? '') + rest.toString());
  });
  socket.on('open', () => send?.(socket));
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('close', (code) => resolve({ channels, code }));
  });
}

test('every WebSocket protocol of exec', async () => {
  for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io']) {
    const { channels, code } = await talk(`${PODS}/web/exec?command=fail&command=3&stdout=1&stderr=1`, {
      protocol,
    });
    assert.equal(code, 1000, protocol);
    assert.equal(channels.get(2), 'it failed\n', protocol);
    assert.match(channels.get(3) ?? '', /"reason":"ExitCode","message":"3"/, protocol);
  }
  for (const protocol of ['channel.k8s.io', 'base64.channel.k8s.io']) {
    const { channels } = await talk(`${PODS}/web/exec?command=fail&command=3`, { protocol });
    assert.equal(channels.get(3), 'command terminated with non-zero exit code: exit status 3', protocol);
  }
});

test('logs as messages, in the protocols of log readers', async () => {
  const read = (protocols: readonly string[]): Promise<{ readonly text: string; readonly code: number }> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${apiUrl.replace('http', 'ws')}${PODS}/web/log?container=main`, [
        ...protocols,
      ]);
      let text = '';
      socket.on('message', (data: Buffer, isBinary) => {
        text += isBinary ? data.toString() : Buffer.from(data.toString(), 'base64').toString();
      });
      socket.on('error', reject).on('close', (code) => resolve({ text, code }));
    });
  const plain = (await get(`${PODS}/web/log?container=main`)).text;
  assert.notEqual(plain, '');
  for (const protocols of [[], ['binary.k8s.io'], ['base64.binary.k8s.io']])
    assert.deepEqual(await read(protocols), { text: plain, code: 1000 }, protocols.join(' '));
  await assert.rejects(read(['v4.channel.k8s.io']), /400/);
});

test('v5 closes stdin by its signal, and a terminal gets its size', async () => {
  const cat = await talk(`${PODS}/web/exec?command=cat&stdin=1&stdout=1`, {
    protocol: 'v5.channel.k8s.io',
    send: (socket) => {
      socket.send(Buffer.from('\0hello'));
      socket.send(Buffer.from([255, 0]));
    },
  });
  assert.equal(cat.channels.get(1), 'hello');
  assert.match(cat.channels.get(3) ?? '', /"status":"Success"/);
  const size = await talk(`${PODS}/web/exec?command=size&stdin=1&stdout=1&tty=1`, {
    protocol: 'v5.channel.k8s.io',
    send: (socket) => socket.send(Buffer.from('\u0004{"Width":80,"Height":24}')),
  });
  assert.equal(size.channels.get(1), '80x24');
});

test('what fails before or behind the upgrade is reported as upstream tells it', async () => {
  await assert.rejects(talk(`${PODS}/two/exec?command=x`, { protocol: 'v5.channel.k8s.io' }), /400/);
  await assert.rejects(talk(`${PODS}/web/exec?command=x`, { protocol: 'v9.nothing' }), /400/);
  const refused = await talk(`${PODS}/two/exec?command=x&container=i`, { protocol: 'v5.channel.k8s.io' });
  assert.match(
    refused.channels.get(3) ?? '',
    /Internal error occurred: unable to upgrade connection: unable to find container not alive/,
  );
  const dead = await talk(`${PODS}/orphan/exec?command=x`, { protocol: 'v5.channel.k8s.io' });
  assert.match(
    dead.channels.get(3) ?? '',
    /error dialing backend: dial tcp 127\.0\.0\.1:1: connect: connection refused/,
  );
});

// ---- kubectl ------------------------------------------------------------------------------------------------------------------------------

interface KubectlResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

for (const minor of [35, 32] as const) {
  const tools = foreignTools(minor);
  describe(`kubectl 1.${minor}`, { skip: 'missing' in tools ? tools.missing : false }, () => {
    const path = 'missing' in tools ? '' : tools.kubectl;
    const kubectl = (
      args: readonly string[],
      { env = {}, input = '' }: { readonly env?: Record<string, string>; readonly input?: string } = {},
    ): Promise<KubectlResult> =>
      new Promise((resolve) => {
        const child = execFile(
          path,
          ['--kubeconfig=/dev/null', `--server=${apiUrl}`, ...args],
          { env: { ...process.env, HOME: '/nonexistent', ...env }, timeout: 60_000 },
          (error, stdout, stderr) => resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
        );
        child.stdin?.end(input);
      });
    for (const [name, env] of [
      ['WebSocket', {}],
      ['SPDY', { KUBECTL_REMOTE_COMMAND_WEBSOCKETS: 'false', KUBECTL_PORT_FORWARD_WEBSOCKETS: 'false' }],
    ] as const) {
      test(`exec over ${name}`, async () => {
        assert.deepEqual(await kubectl(['exec', 'web', '--', 'echo', 'one', 'two'], { env }), {
          code: 0,
          stdout: 'one two\n',
          stderr: '',
        });
        const failed = await kubectl(['exec', 'web', '--', 'fail', '5'], { env });
        assert.deepEqual(
          [failed.code, failed.stderr],
          [5, 'it failed\ncommand terminated with exit code 5\n'],
        );
        const input = 'x'.repeat(1_000_000);
        assert.equal(
          (await kubectl(['exec', '-i', 'web', '--', 'cat'], { env, input })).stdout.length,
          input.length,
        );
        const unscheduled = await kubectl(['exec', 'unscheduled', '--', 'x'], { env });
        assert.match(unscheduled.stderr, /pod unscheduled does not have a host assigned/);
        const dead = await kubectl(['exec', 'orphan', '--', 'x'], { env });
        assert.match(
          dead.stderr,
          /error dialing backend: dial tcp 127\.0\.0\.1:1: connect: connection refused/,
        );
      });

      test(`port-forward over ${name}`, async () => {
        const child = spawn(
          path,
          ['--kubeconfig=/dev/null', `--server=${apiUrl}`, 'port-forward', 'pod/web', `:${portOf(echo)}`],
          { env: { ...process.env, HOME: '/nonexistent', ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
        );
        try {
          let output = '';
          const tunnels = upgrades.filter((protocol) => protocol === 'SPDY/3.1+portforward.k8s.io').length;
          child.stderr.on('data', (data: Buffer) => {
            output += data.toString();
          });
          const port = await new Promise<number>((resolve, reject) => {
            child.stdout.on('data', (data: Buffer) => {
              output += data.toString();
              const found = /127\.0\.0\.1:(\d+) ->/.exec(output);
              if (found) resolve(Number(found[1]));
            });
            child.on('close', () => reject(new Error(output)));
          });
          for (const word of ['first', 'second']) {
            const socket = connect(port, '127.0.0.1');
            socket.write(word);
            assert.equal(
              await new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString()))),
              word,
            );
            socket.destroy();
            await sleep(1);
          }
          assert.equal(
            upgrades.filter((protocol) => protocol === 'SPDY/3.1+portforward.k8s.io').length > tunnels,
            name === 'WebSocket',
            'a tunnel is used exactly when asked for',
          );
          assert.doesNotMatch(output, /rror/);
        } finally {
          child.kill();
        }
      });
    }

    test('logs', async () => {
      assert.equal((await kubectl(['logs', '-f', 'web'])).stdout, 'line 1\nline 2\n');
      assert.match(
        (await kubectl(['logs', '--previous', 'web'])).stderr,
        /Error from server \(BadRequest\): previous terminated container "main" in pod "web" not found/,
      );
    });
  });
}
