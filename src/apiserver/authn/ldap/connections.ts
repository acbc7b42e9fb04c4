/**
 * Connections to the servers of one directory: pooled, encrypted before the first request, opened to the first server that responds. Search
 * connections are bound as the service account; connections that verify users' passwords are used for nothing else.
 *
 *   request ─► an idle one ─► use ─► idle again      a server that is unreachable or does not respond is skipped for a while
 *      '────► open: connect, StartTLS, bind ─► use   (before an error is reported, all of them are tried again)
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { checkServerIdentity, type ConnectionOptions } from 'node:tls';
import type { Client as LdapClient, ResultCodeError } from 'ldapts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Gate, GateFull } from '../basic/gate.ts';
import { BackendUnavailable } from '../basic/password-backend.ts';
import type { LdapConfiguration, LdapServer } from './configuration.ts';

/** 'search': bound as the service account. 'bind': for users' passwords. */
type ConnectionKind = 'search' | 'bind';

interface Connection {
  readonly client: LdapClient;
  readonly server: LdapServer;
  established: boolean;
}
interface Side {
  readonly gate: Gate;
  readonly idle: Connection[];
}

const MAX_WAITING = 256;
const AVOID_MS = 30_000;
/** Result codes without a verdict: busy, unavailable, and the server's own time limit. */
const NO_ANSWER = new Set([3, 51, 52]);

export class LdapConnections {
  readonly #configuration: LdapConfiguration;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #sides: Readonly<Record<ConnectionKind, Side>>;
  readonly #avoidUntilMs = new Map<string, number>();
  #closed = false;

  constructor(
    configuration: LdapConfiguration,
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#configuration = configuration;
    this.#clock = clock;
    this.#log = log;
    const side = (): Side => ({
      gate: new Gate({ atOnce: configuration.connections, maxWaiting: MAX_WAITING }),
      idle: [],
    });
    this.#sides = { search: side(), bind: side() };
  }

  /** work may run again on another server. Throws a directory's verdict (ResultCodeError), BackendUnavailable, or GateFull. */
  use<T>(kind: ConnectionKind, work: (client: LdapClient) => Promise<T>): Promise<T> {
    return this.#sides[kind].gate.run(() => this.#tryServers(kind, work));
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const { idle } of Object.values(this.#sides))
      for (const connection of idle.splice(0)) end(connection);
  }

  async #tryServers<T>(kind: ConnectionKind, work: (client: LdapClient) => Promise<T>): Promise<T> {
    const failures: string[] = [];
    for (const server of this.#inOrder()) {
      try {
        const result = await this.#tryServer({ kind, server, work });
        this.#avoidUntilMs.delete(server.url);
        return result;
      } catch (error) {
        if (isVerdict(error) || error instanceof GateFull) throw error;
        this.#avoidUntilMs.set(server.url, this.#clock.monotonic() + AVOID_MS);
        failures.push(`${server.url}: ${errorMessage(error)}`);
        this.#log.warn('an LDAP server does not answer', { server: server.url, error: errorMessage(error) });
      }
    }
    throw new BackendUnavailable(`no LDAP server answers (${failures.join('; ')})`);
  }

  #inOrder(): LdapServer[] {
    const now = this.#clock.monotonic();
    const isAvoided = ({ url }: LdapServer): boolean => (this.#avoidUntilMs.get(url) ?? 0) > now;
    return [
      ...this.#configuration.servers.filter((server) => !isAvoided(server)),
      ...this.#configuration.servers.filter(isAvoided),
    ];
  }

  async #tryServer<T>({
    kind,
    server,
    work,
  }: {
    readonly kind: ConnectionKind;
    readonly server: LdapServer;
    readonly work: (client: LdapClient) => Promise<T>;
  }): Promise<T> {
    const idle = this.#takeIdle(kind, server);
    if (idle) {
      try {
        return await this.#run({ kind, connection: idle, work });
      } catch (error) {
        // A pooled connection that the server closed is no evidence against the server.
        if (isVerdict(error)) throw error;
      }
    }
    return this.#run({ kind, connection: await this.#open(kind, server), work });
  }

  #takeIdle(kind: ConnectionKind, server: LdapServer): Connection | undefined {
    const { idle } = this.#sides[kind];
    for (let index = idle.length - 1; index >= 0; index--) {
      const connection = idle[index]!;
      if (!connection.client.isConnected) idle.splice(index, 1);
      else if (connection.server === server) return idle.splice(index, 1)[0];
    }
    return undefined;
  }

  async #run<T>({
    kind,
    connection,
    work,
  }: {
    readonly kind: ConnectionKind;
    readonly connection: Connection;
    readonly work: (client: LdapClient) => Promise<T>;
  }): Promise<T> {
    try {
      // The library would connect again by itself, in clear and unbound.
      if (connection.established && !connection.client.isConnected)
        throw new Error('the connection was closed');
      const result = await this.#bounded(connection, work(connection.client));
      this.#giveBack(kind, connection);
      return result;
    } catch (error) {
      if (isVerdict(error)) this.#giveBack(kind, connection);
      else end(connection);
      throw error;
    }
  }

  #giveBack(kind: ConnectionKind, connection: Connection): void {
    connection.established = true;
    const { idle } = this.#sides[kind];
    if (this.#closed || !connection.client.isConnected || idle.length >= this.#configuration.connections)
      end(connection);
    else idle.push(connection);
  }

  async #open(kind: ConnectionKind, server: LdapServer): Promise<Connection> {
    const { Client } = await import('ldapts');
    const { timeouts, tls, bind } = this.#configuration;
    const encryption = server.secure || tls.startTLS ? this.#encryption(server) : undefined;
    const client = new Client({
      url: server.url,
      timeout: timeouts.requestMs,
      connectTimeout: timeouts.connectMs,
      strictDN: false,
      ...(server.secure && encryption ? { tlsOptions: encryption } : {}),
    });
    const connection: Connection = { client, server, established: false };
    try {
      if (tls.startTLS && encryption) {
        await this.#bounded(connection, client.startTLS(encryption));
        connection.established = true;
      }
      if (kind === 'search' && bind) {
        if (connection.established && !client.isConnected) throw new Error('the connection was closed');
        await this.#bounded(
          connection,
          client.bind(bind.dn, readFileSync(bind.passwordFile, 'utf8').replace(/\r?\n$/, '')),
        );
        connection.established = true;
      }
      return connection;
    } catch (error) {
      end(connection);
      // A verdict on the service account is no verdict on the user.
      if (isVerdict(error))
        throw new Error(`the service account ${bind?.dn ?? ''} cannot bind: ${errorMessage(error)}`, {
          cause: error,
        });
      throw error;
    }
  }

  #encryption({ host }: LdapServer): ConnectionOptions {
    const { certificateAuthorityFile, certificateAuthorityData, serverName } = this.#configuration.tls;
    const ca =
      certificateAuthorityData ??
      (certificateAuthorityFile === undefined ? undefined : readFileSync(certificateAuthorityFile, 'utf8'));
    const name = serverName ?? host;
    // Not `host`: it would be where to connect to.
    return {
      ...(ca === undefined ? {} : { ca }),
      minVersion: 'TLSv1.2',
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      ...(isIP(name) === 0 ? { servername: name } : {}),
    };
  }

  /** The library bounds each step; TLS handshakes and partial reads are bounded here. */
  async #bounded<T>(connection: Connection, work: Promise<T>): Promise<T> {
    const { connectMs, requestMs } = this.#configuration.timeouts;
    const limitMs = connection.established ? requestMs : connectMs + requestMs;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = this.#clock.after(limitMs, () => {
      reject(new Error(`no answer within ${limitMs} ms`));
      end(connection);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      timer.cancel();
      work.catch(() => {});
    }
  }
}

/** The directory returned a verdict. */
export function isVerdict(error: unknown): error is ResultCodeError {
  return (
    error instanceof Error &&
    typeof (error as { code?: unknown }).code === 'number' &&
    !NO_ANSWER.has((error as unknown as { code: number }).code)
  );
}

function end({ client }: Connection): void {
  client.unbind().catch(() => {});
}
