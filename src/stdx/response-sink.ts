/** Where a streaming body goes, whichever protocol carries it. */

/** A server's protocol implements it; write returns false when the reader is behind (await `drained`). */
export interface ResponseSink {
  write(chunk: Buffer): boolean;
  /** Resolves when the reader caught up or went away. */
  drained(): Promise<void>;
  /** Bytes accepted but not yet handed to the operating system: bounds on slow readers are taken of this. */
  readonly bufferedBytes: number;
  end(): void;
  /** True once the reader is gone; write is then a no-op. */
  readonly closed: boolean;
  onClose(callback: () => void): void;
}

/** The sink of a body whose reader is gone already. */
export const closedSink: ResponseSink = {
  write: () => false,
  drained: () => Promise.resolve(),
  bufferedBytes: 0,
  end: () => {},
  closed: true,
  onClose: (callback) => callback(),
};
