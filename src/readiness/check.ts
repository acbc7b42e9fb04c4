/**
 * A check of a running cluster: what is wrong, by what evidence, and how to mend it. It reads and changes nothing. `capstan doctor` runs all of them,
 * `capstan upgrade plan` those that an upgrade depends on. One file a check, in checks/; list.ts has them in order.
 */
import type { Client } from '#client/client.ts';
import type { MajorMinor } from '#machinery/effective-version.ts';

/** error: something does not work, or would not. warning: it will, or may. info: worth knowing. */
type Severity = 'error' | 'warning' | 'info';

export interface Finding {
  readonly severity: Severity;
  /** 'Node m1', 'Namespace web'. */
  readonly object?: string | undefined;
  /** What was seen, in a sentence without a full stop. */
  readonly evidence: string;
  /** What to do about it: a command where there is one. */
  readonly remedy: string;
}

export interface CheckContext {
  readonly api: Client;
  readonly nowMs: number;
  /** Facts of the machine that it runs on; undefined: it runs elsewhere. */
  readonly machine?: MachineFacts | undefined;
  /** The version that the cluster is to be upgraded to. */
  readonly target?: MajorMinor | undefined;
}

/** Of a control plane or worker of init and join. */
export interface MachineFacts {
  readonly role: string;
  certificates(): readonly CertificateFact[];
  /** Undefined: no member runs here and none is reached. */
  etcd(): Promise<EtcdFacts | undefined>;
  disks(): readonly DiskFact[];
  /** Paths of the audit log of its API server and of the rotated ones. Empty: it writes none to files. */
  auditLogs?(): readonly string[];
  /** 'net.ipv4.ip_forward'. Undefined: the kernel has none of that name. */
  sysctl(name: string): string | undefined;
}

export interface CertificateFact {
  readonly name: string;
  readonly notAfterMs: number;
  /** Capstan renews it by itself before it ends. */
  readonly renewed: boolean;
}

export interface DiskFact {
  readonly path: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export interface EtcdFacts {
  readonly members: readonly {
    readonly name: string;
    readonly isLearner: boolean;
    readonly dbSizeBytes?: number | undefined;
    readonly dbSizeInUseBytes?: number | undefined;
    readonly version?: string | undefined;
    readonly problem?: string | undefined;
  }[];
  /** 'NOSPACE at m1' */
  readonly alarms: readonly string[];
}

export interface ReadinessCheck {
  readonly name: string;
  readonly short: string;
  /** Needs facts of the machine: skipped elsewhere. */
  readonly onMachine?: boolean;
  /** Rejects where the API server or the machine cannot be asked. */
  run(context: CheckContext): Promise<readonly Finding[]>;
}
