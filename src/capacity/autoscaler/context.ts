/** What the parts of the autoscaler's loop share. */
import type { ConfigMap } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';
import type { SimulationSource } from '#scheduler/simulation.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { ClusterState } from './cluster-state.ts';
import type { AutoscalerMetrics } from './metrics.ts';
import type { NodeProvider } from './provider.ts';
import type { AutoscalerSettings } from './settings.ts';

export interface AutoscalerContext {
  readonly settings: AutoscalerSettings;
  readonly provider: NodeProvider;
  readonly state: ClusterState;
  readonly source: SimulationSource;
  /** Fenced: nothing is written by an instance that does not lead. */
  readonly api: Client;
  readonly events: EventRecorder;
  readonly metrics: AutoscalerMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Aborted when leadership ends. */
  readonly signal: AbortSignal;
  /** Events that are about no Node and no pod are about it. */
  readonly statusConfigMap: () => Pick<ConfigMap, 'apiVersion' | 'kind' | 'metadata'>;
}
