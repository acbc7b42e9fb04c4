/** Settings of a real node that flags change, beside its names, networks and certificates. flags.ts maps flags to them; compose.ts applies them. */
import type { NodeAgentOptions } from '#node/agent/node-agent.ts';
import type { TlsSettings } from '../tls-flags.ts';

/** Of the node problem detector. */
export interface ProblemSettings {
  readonly enabled: boolean;
  /** Files. Both empty: the default monitors. */
  readonly logMonitors: readonly string[];
  readonly pluginMonitors: readonly string[];
  /** Undefined: no metrics. */
  readonly metricsPort?: number | undefined;
  /** A line of sh that reboots the machine. */
  readonly rebootCommand?: string | undefined;
}

/** Each group is passed unchanged to the part of the node agent with such options. Structured-cloneable. */
export interface NodeSettings {
  readonly agent?: Partial<
    Omit<NodeAgentOptions, 'context' | 'cri' | 'imageMounts' | 'tls' | 'reserved' | 'dir'>
  > & {
    /** The agent's directory; default: kubelet in the node's. */
    readonly rootDir?: string;
  };
  readonly logRotation?: NodeAgentOptions['logRotation'];
  readonly imageGarbage?: NodeAgentOptions['imageGarbage'];
  readonly eviction?: NodeAgentOptions['eviction'];
  readonly tls?: TlsSettings;
  /** Amounts as text, by resource. */
  readonly reserved?: Readonly<Record<string, string>>;
  /** Default: the detector runs its default monitors, and serves metrics where the others of this program are. */
  readonly problems?: ProblemSettings;
}
