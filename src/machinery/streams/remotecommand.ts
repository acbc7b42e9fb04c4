/**
 * Protocol constants of exec and attach, shared by all transports: protocol versions, stream names, options, and the Status that ends a
 * command. Follows upstream's remotecommand protocols: v1 'channel.k8s.io'; v2 waits for all streams; v3 adds the terminal's size; v4
 * ends with a Status in JSON; v5 (WebSocket only) can close one stream.
 */
import type { Status } from '../errors.ts';

/** The streams that the client requests. */
export interface RemoteCommandOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface TerminalSize {
  readonly Width: number;
  readonly Height: number;
}

/** Newest first, in the order of SPDY negotiation. */
export const SPDY_PROTOCOLS = [
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
] as const;
export const PROTOCOL_HEADER = 'x-stream-protocol-version';

/** v3 added the terminal's size, v4 the Status. */
export function hasResize(protocol: string): boolean {
  return versionOf(protocol) >= 3;
}

export function hasStatus(protocol: string): boolean {
  return versionOf(protocol) >= 4;
}

/** 'v4.base64.channel.k8s.io' → 4, 'channel.k8s.io' → 1. */
function versionOf(protocol: string): number {
  return Number(/^v(\d)\./.exec(protocol)?.[1] ?? 1);
}

export function successStatus(): Partial<Status> {
  return { metadata: {}, status: 'Success' };
}

/** The Status of a command that exited with a code other than 0. */
export function exitStatus(code: number): Partial<Status> {
  return {
    metadata: {},
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: exit status ${code}`,
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}

export function internalErrorStatus(message: string): Partial<Status> {
  return {
    metadata: {},
    status: 'Failure',
    reason: 'InternalError',
    message: `Internal error occurred: ${message}`,
    details: { causes: [{ message }] },
    code: 500,
  };
}
