/** The destination of a streaming body, for any protocol. */

/** Implemented by each protocol of the server; write returns false when the reader is behind (await `drained`). */
export interface ResponseSink {
  write(chunk: Buffer): boolean;
  /** Resolves when the reader has caught up or left. */
  drained(): Promise<void>;
  /** Bytes accepted but not yet handed to the operating system: used to limit slow readers. */
  readonly bufferedBytes: number;
  end(): void;
  /** True once the reader has left; write is then a no-op. */
  readonly closed: boolean;
  onClose(callback: () => void): void;
}

/** The sink of a body without a reader. */
export const closedSink: ResponseSink = {
  write: () => false,
  drained: () => Promise.resolve(),
  bufferedBytes: 0,
  end: () => {},
  closed: true,
  onClose: (callback) => callback(),
};
