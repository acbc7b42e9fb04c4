/** Context of the phases of `capstan init`: the configuration with its defaults, the machine, and functions of the program around them. */
import type { Client } from '#client/client.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Addon } from '../../addons/addon-files.ts';
import type { DefaultedCluster, DefaultedInit } from '../../config/defaults.ts';
import type { KubeletConfiguration } from '../../config/types.ts';
import type { PhaseContext } from '../phase.ts';

export interface InitContext extends PhaseContext {
  readonly init: DefaultedInit;
  readonly cluster: DefaultedCluster;
  readonly kubelet: KubeletConfiguration;
  /** Undefined: the addons of the cluster stay as they are. */
  readonly addons?: readonly Addon[] | undefined;
  /** --restore: the backup whose cluster this machine becomes the first control plane of. */
  readonly restoring?: Restoring | undefined;
  /** HOST:PORT that clients outside use. */
  readonly endpoint: string;
  readonly options: InitOptions;
  readonly clock: Clock;
  readonly program: ProgramAround;
  warn(line: string): void;
}

interface InitOptions {
  readonly uploadCerts: boolean;
  readonly certificateKey: string;
  readonly printCertificateKey: boolean;
  readonly printToken: boolean;
  readonly ignorePreflightErrors: readonly string[];
  readonly etcdBinary?: string | undefined;
  /** Whether etcd may be fetched where the machine has none. */
  readonly mayFetchEtcd: boolean;
  readonly runtime: 'cri' | 'simulated';
}

/** A backup that was verified. */
interface Restoring {
  readonly name: string;
  /** Paths below the directory of certificates begin with 'pki/'. */
  readonly files: readonly { readonly path: string; readonly content: Buffer }[];
  /** The keys of encryption at rest, wherever the cluster had them. */
  readonly encryption?: Buffer | undefined;
  /** Writes the objects into an etcd that answers soon, and that no API server uses. Can be repeated after a kill. */
  write(
    etcd: EtcdConnectionOptions,
    options: {
      /** Of this machine. */
      readonly nodeName: string;
      readonly encryptionFile: string | undefined;
      readonly say: (line: string) => void;
    },
  ): Promise<void>;
}

export interface EtcdConnectionOptions {
  readonly endpoints: readonly string[];
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** What cmd/ hands in, since phases import neither components nor the store. */
export interface ProgramAround {
  /** Throws a UserError for a flag that `capstan COMMAND` does not have or a value that it refuses. */
  requireFlags(command: string, words: readonly string[]): Promise<void>;
  /** Starts the supervisor of this machine, or lets it apply the changed record. */
  startSupervisor(): Promise<void>;
  /** Whether it runs now. */
  isSupervised(): boolean;
  etcd(options: EtcdConnectionOptions): EtcdMembership;
  /** As the administrator, at this machine's own API server. The runner of the phases closes it. */
  api(): Client;
  /** Undefined when the API server of this machine is ready, else why not. */
  apiServerProblem(): Promise<string | undefined>;
  /** Of the service that has failed to start, in a sentence. */
  failedService(): Promise<string | undefined>;
}
