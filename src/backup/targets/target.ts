/** Where backups are kept. A target holds bytes by name; what they mean is that of stored-backups.ts. */

/** Called before each step of a backup, by its name: tests end the process, fill the disk or stop the store there. What it throws is the step's error. */
export type BeforeStep = (step: string) => void;

export interface StoredFile {
  readonly name: string;
  readonly bytes: number;
}

export interface BackupTarget {
  /** As users write it: a directory, or s3://BUCKET/PREFIX. */
  readonly location: string;
  /** What is whole: never a file that is being written, or was not finished. In no order. */
  list(): Promise<readonly StoredFile[]>;
  /** Rejects with BackupError 'missing'. */
  read(name: string): AsyncIterable<Uint8Array>;
  /**
   * Visible under its name only once all of it is durable; resolves to its bytes then. An error of `source` leaves nothing. Rejects with a BackupError: 'exists' where
   * the name is taken, 'no-space', 'refused', 'unavailable' after the target's own retries.
   */
  write(name: string, source: AsyncIterable<Uint8Array>): Promise<number>;
  /** Small texts beside backups; the newest replaces. Undefined where there is none. */
  readText(name: string): Promise<string | undefined>;
  writeText(name: string, text: string): Promise<void>;
  /** No error where there is none. */
  remove(name: string): Promise<void>;
  /** Removes what killed writers of a cluster's backups (8 digits of it) have left. The caller is the only one that writes such now: no clock tells which are abandoned. */
  tidy(cluster: string): Promise<void>;
}
