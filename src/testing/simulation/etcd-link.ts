/** A member of etcd as the driver of one API server reaches it: the place of drivers/etcd/member.ts, over the simulated network instead of gRPC. */
import { status } from '@grpc/grpc-js';
import type { Clock, Timer } from '#stdx/clock.ts';
import { classifyFailure, EtcdCallError } from '#storage/drivers/etcd/failures.ts';
import type { CallOptions, EtcdMember, EtcdStream, Sent } from '#storage/drivers/etcd/member.ts';
import type { EtcdMethod, StatusResponse } from '#storage/drivers/etcd/protocol.ts';
import type { RpcError, SimEtcdMember } from './etcd-member.ts';
import type { Connection, Network } from './network.ts';
import type { SimNode } from './world.ts';

/** As member.ts has them. */
const PATIENCE_MS = 1_500;
const SUSPECT_MS = 1_500;
const PROBE_MS = 1_000;
/** To connect, and between two attempts. */
const CONNECT_MS = { low: 1, high: 20 };
const RECONNECT_MS = 200;
const WAIT_STEP_MS = 50;

interface EtcdLinkOptions {
  readonly node: SimNode;
  readonly member: SimEtcdMember;
  readonly network: Network;
}

export class EtcdLink implements EtcdMember {
  readonly endpoint: string;
  avoided = false;
  readonly silent = false;
  readonly #options: EtcdLinkOptions;
  /** Of the life in which it was made. */
  readonly #clock: Clock;
  #connection: Connection | undefined;
  #connecting = false;
  #isSuspected = false;
  #heardMs = 0;
  #probe: Timer | undefined;
  #closed = false;

  constructor(options: EtcdLinkOptions) {
    this.#options = options;
    this.#clock = options.node.clock;
    this.endpoint = options.member.node.name;
    this.#connect();
  }

  get connected(): boolean {
    if (this.#connection) return true;
    this.#connect();
    return false;
  }

  async whenConnected(timeoutMs: number): Promise<this> {
    const clock = this.#clock;
    const untilMs = clock.monotonic() + timeoutMs;
    while (!this.connected) {
      if (this.#closed || clock.monotonic() >= untilMs) throw new Error('it is not connected in time');
      await clock.sleep(WAIT_STEP_MS);
    }
    return this;
  }

  async send<Response>(sent: Sent, options: CallOptions): Promise<Response> {
    const clock = this.#clock;
    let impatient: Timer;
    const wait = (): void => {
      impatient = clock.after(PATIENCE_MS, () => {
        this.suspect();
        wait();
      });
    };
    wait();
    try {
      return await this.#send<Response>(sent, options);
    } finally {
      impatient!.cancel();
    }
  }

  #send<Response>({ method, request }: Sent, options: CallOptions): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const { member } = this.#options;
    const connection = this.#connection;
    const fail = (error: RpcError): void => {
      over();
      const cause = { ...error, message: error.details };
      reject(new EtcdCallError(classifyFailure(cause, { doing: options.doing, endpoint: this.endpoint })));
    };
    const unavailable = (details: string): void => fail({ code: status.UNAVAILABLE, details });
    const deadline = this.#clock.after(options.timeoutMs, () =>
      fail({ code: status.DEADLINE_EXCEEDED, details: `no answer within ${options.timeoutMs / 1000} s` }),
    );
    const forget = connection?.onBreak(unavailable);
    const over = (): void => {
      deadline.cancel();
      forget?.();
    };
    if (!connection) unavailable('the connection is closed');
    else
      connection.send('server', () =>
        member.handle({
          method,
          request,
          requiresLeader: !options.withoutLeader,
          succeed: (response) =>
            connection.send('client', () => {
              this.#heardMs = this.#clock.monotonic();
              over();
              resolve(response as Response);
            }),
          fail: (error) => connection.send('client', () => fail(error)),
        }),
      );
    return promise;
  }

  openStream(): EtcdStream {
    return new SimStream(this.#connection, {
      member: this.#options.member,
      clock: this.#clock,
      heard: () => (this.#heardMs = this.#clock.monotonic()),
    });
  }

  openServerStream(method: EtcdMethod): AsyncIterable<object> {
    throw new Error(`the model of etcd has no ${method}`);
  }

  status(timeoutMs: number): Promise<StatusResponse> {
    return this.#send<StatusResponse>(
      { method: 'Status', request: {} },
      { doing: 'read the status', timeoutMs, withoutLeader: true },
    );
  }

  version(timeoutMs: number): Promise<string | undefined> {
    return this.status(timeoutMs).then(
      ({ version }) => version,
      () => undefined,
    );
  }

  suspect(): void {
    if (this.#closed || this.#isSuspected) return;
    this.#isSuspected = true;
    const begunMs = this.#clock.monotonic();
    const over = (): void => void (this.#isSuspected = false);
    this.status(SUSPECT_MS).then(over, () => {
      over();
      if (this.#heardMs >= begunMs) return;
      this.avoid();
      this.#connection?.break('it did not answer');
    });
  }

  avoid(): void {
    if (this.avoided || this.#closed) return;
    this.avoided = true;
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe = this.#clock.after(PROBE_MS, () => {
      this.status(PROBE_MS).then(
        () => (this.avoided = false),
        () => this.#closed || this.#probeLater(),
      );
    });
  }

  diagnose(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  close(): void {
    this.#closed = true;
    this.#probe?.cancel();
    this.#connection?.break('closed');
  }

  #connect(): void {
    if (this.#connecting || this.#closed) return;
    this.#connecting = true;
    const { node, member, network } = this.#options;
    this.#clock.after(network.world.between(CONNECT_MS.low, CONNECT_MS.high), () => {
      const isReachable =
        !member.node.paused && !network.isCut(node, member.node) && !network.isCut(member.node, node);
      this.#connecting = false;
      if (isReachable && !this.#closed) return this.#connected(network.connect(node, member.node));
      this.#clock.after(RECONNECT_MS, () => this.#connect());
    });
  }

  #connected(connection: Connection): void {
    this.#connection = connection;
    connection.onBreak(() => {
      this.#connection = undefined;
      this.#connect();
    });
  }
}

interface Listeners {
  readonly data: ((message: object) => void)[];
  readonly error: ((error: Error) => void)[];
  readonly end: (() => void)[];
}

class SimStream implements EtcdStream {
  readonly #listeners: Listeners = { data: [], error: [], end: [] };
  readonly #write: ((deliver: () => void) => void) | undefined;
  readonly #forget: (() => void) | undefined;
  #server: ReturnType<SimEtcdMember['openWatch']> | undefined;
  #over = false;

  constructor(
    connection: Connection | undefined,
    {
      member,
      clock,
      heard,
    }: { readonly member: SimEtcdMember; readonly clock: Clock; readonly heard: () => void },
  ) {
    const broke = (why: string): void => this.#fail(new Error(why));
    if (!connection) {
      clock.after(0, () => broke('the connection is closed'));
      return;
    }
    this.#forget = connection.onBreak(broke);
    this.#write = connection.openLane('server');
    const answers = connection.openLane('client');
    this.#write(() => {
      this.#server = member.openWatch({
        send: (message) =>
          answers(() => {
            heard();
            if (!this.#over) for (const listener of this.#listeners.data) listener(message);
          }),
        end: ({ details }) => answers(() => this.#fail(new Error(details))),
      });
    });
  }

  on<Event extends keyof Listeners>(event: Event, listener: Listeners[Event][number]): this {
    (this.#listeners[event] as unknown[]).push(listener);
    return this;
  }

  write(message: object): void {
    this.#write?.(() => this.#server?.take(message));
  }

  cancel(): void {
    this.#close();
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.#close();
    for (const listener of this.#listeners.error) listener(error);
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget?.();
    this.#write?.(() => this.#server?.closed());
  }
}
