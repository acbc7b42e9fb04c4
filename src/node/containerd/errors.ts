/** Errors of the node's container runtime, in sentences for the user of `capstan up`. */

type ContainerdErrorCode =
  | 'not-root'
  | 'not-linux'
  | 'not-installed'
  /** The kernel or the machine lacks what containers need. */
  | 'unsupported-machine'
  | 'socket-path-too-long'
  | 'start-failed'
  /** The pod network cannot be set up: no such tool, an address range in use. */
  | 'network'
  | 'teardown';

export class ContainerdError extends Error {
  readonly code: ContainerdErrorCode;
  constructor(code: ContainerdErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'ContainerdError';
    this.code = code;
  }
}
