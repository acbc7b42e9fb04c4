/** What a rotation works with: this machine's files, a way to the cluster, a clock. */
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import type { KeyAlgorithm } from '#pki/keys.ts';
import type { Clock } from '#stdx/clock.ts';
import type { CertificateSet } from '../certificate-files.ts';

/** A connection from the administrator's current kubeconfig. */
export interface Access {
  readonly api: Client;
  readonly connection: HttpsOptions;
  close(): Promise<void>;
}

export interface RotateOptions {
  readonly set: CertificateSet;
  /** Opened for each phase: the kubeconfig changes with it. */
  connect(): Promise<Access>;
  /** This machine's node name. */
  readonly machineName: string;
  readonly ownNodes: readonly string[];
  /** For a new rotation. Default: all existing ones. */
  readonly names?: readonly string[] | undefined;
  readonly algorithm?: KeyAlgorithm | undefined;
  /** How long to wait for those who are not there yet. */
  readonly waitMs: number;
  /** How long tokens of the old service account key are accepted after the new one signs. */
  readonly tokenOverlapMs: number;
  /** On another control plane than the leading one: what its keys were shared under. */
  readonly certificateKey?: string | undefined;
  /** Takes the lead over from a failed control plane. */
  readonly lead?: boolean | undefined;
  readonly clock: Clock;
  print(line: string): void;
}

export async function withAccess<T>(
  { connect }: RotateOptions,
  work: (access: Access) => Promise<T>,
): Promise<T> {
  const access = await connect();
  try {
    return await work(access);
  } finally {
    await access.close();
  }
}
