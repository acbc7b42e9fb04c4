/**
 * Polls /readyz of one API server over a kept TLS connection: a broken connection and a refused dial are noticed at once, a stopped or unreachable server
 * within the time that a check may take (patience.ts).
 *
 *   check ──200, 401, 403──► passed ──CHECK_EVERY_MS──► check        401, 403: it serves, but does not allow the check
 *    │──any other response, refused, TLS refused, late──► failed ──CHECK_EVERY_MS──► check
 *    '──connection lost while idle──► check at once on a new one
 *
 * probe() asks once more on a connection of its own while a check is late; see silence.ts.
 */
import * as https from 'node:https';
import type { Socket } from 'node:net';
import * as tls from 'node:tls';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Address } from './address.ts';

const CHECK_EVERY_MS = 1_000;
/** Of a response body; the rest is not read. */
const MAX_ANSWER_BYTES = 16 * 1024;
const SERVING = new Set([200, 401, 403]);

export interface CheckTrust {
  /** The cluster's authorities; without any, every server is trusted (clients verify the certificate anyway). */
  readonly ca?: string | Buffer | undefined;
  /** The name that clients expect in the certificate. */
  readonly serverName: string;
}

interface CheckerOptions {
  readonly address: Address;
  readonly clock: Clock;
  /** Read before each connection, so that a renewed authority is used. */
  readonly trust: () => CheckTrust;
  /**
   * How long a check may take: with CHECK_EVERY_MS, the longest that connections stay with a server that is stopped; as a rule silence.ts is sooner.
   */
  readonly timeoutMs: () => number;
  /** A check or a probe begins. */
  asked(): void;
  passed(): void;
  failed(problem: string): void;
  /** No answer in time. */
  late(problem: string): void;
}

export class Checker {
  readonly #options: CheckerOptions;
  /** Made for the trust of the moment. */
  #agent: https.Agent | undefined;
  #trusted = '';
  #timer: Timer | undefined;
  #asking = false;
  #again = false;
  #probing: https.Agent | undefined;
  #answeredMs = -Infinity;
  #closed = false;

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  /** When the newest question was asked that has passed (monotonic). */
  get answeredMs(): number {
    return this.#answeredMs;
  }

  /** Checks without waiting for the next turn. The first call begins the checks. */
  now(): void {
    if (this.#closed) return;
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#timer?.cancel();
    this.#asking = true;
    this.#options.asked();
    this.#ask(this.#agentFor(this.#options.trust())).then(
      () => this.#done(() => this.#options.passed()),
      (error: unknown) =>
        this.#done(() => {
          if (error instanceof NoAnswer) this.#options.late(error.message);
          else this.#options.failed(errorMessage(error));
        }),
    );
  }

  /** Asks on a connection of its own; one at a time. No answer says nothing: the check in progress has its own timeout. */
  probe(): void {
    if (this.#closed || this.#probing) return;
    const agent = newAgent(this.#options.trust());
    this.#probing = agent;
    this.#options.asked();
    const report = (tell: () => void): void => {
      this.#probing = undefined;
      agent.destroy();
      if (!this.#closed) tell();
    };
    this.#ask(agent).then(
      () => report(() => this.#options.passed()),
      (error: unknown) =>
        report(() => {
          if (!(error instanceof NoAnswer)) this.#options.failed(errorMessage(error));
        }),
    );
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#agent?.destroy();
    this.#probing?.destroy();
  }

  #done(report: () => void): void {
    this.#asking = false;
    if (this.#closed) return;
    report();
    const waitMs = this.#again ? 0 : CHECK_EVERY_MS;
    this.#again = false;
    this.#timer = this.#options.clock.after(waitMs, () => this.now());
  }

  async #ask(agent: https.Agent): Promise<void> {
    const { address, clock } = this.#options;
    const askedMs = clock.monotonic();
    const timeoutMs = this.#options.timeoutMs();
    const late = Promise.withResolvers<never>();
    const request = https.request({
      agent,
      host: address.host,
      port: address.port,
      path: '/readyz',
      headers: { accept: 'text/plain', 'user-agent': 'capstan-balancer' },
    });
    if (agent === this.#agent) request.on('socket', (socket: Socket) => this.#followSocket(socket));
    const timer = clock.after(timeoutMs, () => {
      const error = new NoAnswer(`no answer within ${timeoutMs} ms`);
      late.reject(error);
      request.destroy(error);
    });
    try {
      const status = await Promise.race([answered(request), late.promise]);
      if (!SERVING.has(status)) throw new Error(`/readyz answers ${status}`);
      this.#answeredMs = Math.max(this.#answeredMs, askedMs);
    } finally {
      timer.cancel();
    }
  }

  /** The connection closed while idle: the server died, or restarts. */
  #followSocket(socket: Socket): void {
    if (followed.has(socket)) return;
    followed.add(socket);
    socket.once('close', () => {
      if (!this.#asking) this.now();
    });
  }

  #agentFor(trust: CheckTrust): https.Agent {
    const trusted = `${trust.serverName}\n${trust.ca?.toString() ?? ''}`;
    if (this.#agent && this.#trusted === trusted) return this.#agent;
    this.#agent?.destroy();
    this.#trusted = trusted;
    this.#agent = newAgent(trust);
    return this.#agent;
  }
}

class NoAnswer extends Error {}

const followed = new WeakSet<Socket>();

/** The agent's own: Node.js keeps no connection of a request with its own checkServerIdentity. */
function newAgent(trust: CheckTrust): https.Agent {
  return new https.Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 1, ...tlsOptions(trust) });
}

function tlsOptions({ ca, serverName }: CheckTrust): tls.ConnectionOptions {
  return {
    ...(ca === undefined ? {} : { ca }),
    rejectUnauthorized: ca !== undefined,
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // The clients behind us expect this name, whatever the address that we dial.
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(serverName, certificate),
  };
}

function answered(request: ReturnType<typeof https.request>): Promise<number> {
  return new Promise((resolve, reject) => {
    request.once('response', (response) => {
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_ANSWER_BYTES) request.destroy(new Error('the answer to /readyz is too long'));
      });
      response.once('end', () => resolve(response.statusCode ?? 0));
      response.once('error', reject);
      response.once('close', () => reject(new Error('the answer broke off')));
    });
    request.once('error', reject);
    request.end();
  });
}
