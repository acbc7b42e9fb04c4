/** What flags change of a node with real containers, beside its names, networks and certificates. `flags.ts` says which flag goes where; `compose.ts` acts on it. */
import type { NodeAgentOptions } from '#node/agent/node-agent.ts';
import type { TlsSettings } from '../tls-flags.ts';

/** Each group goes to the part of the node agent that has such options, as it is. Structured-cloneable. */
export interface NodeSettings {
  readonly agent?: Partial<Omit<NodeAgentOptions, 'context' | 'cri' | 'imageMounts' | 'tls' | 'reserved'>>;
  readonly logRotation?: NodeAgentOptions['logRotation'];
  readonly imageGarbage?: NodeAgentOptions['imageGarbage'];
  readonly tls?: TlsSettings;
  /** Amounts as text, by resource. */
  readonly reserved?: Readonly<Record<string, string>>;
}
