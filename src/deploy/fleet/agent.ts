/** What `capstan fleet` asks of a control plane: one JSON request on standard input, one JSON answer on standard output of `capstan fleet agent`. */
import type { Taint } from '#api/types.ts';
import type { JsonObject } from '#machinery/json.ts';
import type { Addon } from '../addons/addon-files.ts';
import type { AddonStatus } from '../addons/configure-addons.ts';

export interface DesiredNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined: left alone, but for those that an earlier run set. */
  readonly taints?: readonly Taint[] | undefined;
}

export type AgentRequest =
  | { readonly kind: 'status' }
  | {
      readonly kind: 'configure';
      readonly nodes: readonly DesiredNode[];
      /** Undefined: the addons of the cluster stay as they are. */
      readonly addons?: readonly Addon[] | undefined;
      readonly dryRun: boolean;
    }
  /** A token of an hour; with the authorities shared for control planes and witnesses. */
  | { readonly kind: 'invite'; readonly certificates: boolean }
  | { readonly kind: 'revoke'; readonly token: string }
  | { readonly kind: 'drain'; readonly node: string; readonly force: boolean }
  | { readonly kind: 'forget'; readonly node: string };

export interface AgentNode {
  readonly name: string;
  readonly ready: boolean;
  readonly addresses: readonly string[];
}

export interface AgentMember {
  readonly name: string;
  readonly peerURLs: readonly string[];
}

export interface ClusterStatus {
  readonly nodes: readonly AgentNode[];
  /** Undefined: etcd is external. */
  readonly members?: readonly AgentMember[] | undefined;
  readonly addons: readonly AddonStatus[];
}

export interface Change {
  /** 'node worker-1', 'addon ingress' */
  readonly object: string;
  readonly change: string;
}

export interface Invitation {
  readonly token: string;
  readonly caCertHashes: readonly string[];
  readonly certificateKey?: string | undefined;
}

export interface AgentAnswers {
  readonly status: ClusterStatus;
  readonly configure: { readonly changes: readonly Change[] };
  readonly invite: Invitation;
  readonly revoke: JsonObject;
  readonly drain: JsonObject;
  readonly forget: JsonObject;
}
