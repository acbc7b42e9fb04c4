/** Metrics of the proportional autoscaler: what each ConfigMap asks for, and of what size of the cluster. */
import { label, seriesLine } from '#stdx/instruments.ts';
import type { ClusterSize } from './parameters.ts';

interface Outcome {
  readonly size: ClusterSize;
  readonly replicas: number;
}

export class ProportionalScales {
  /** By 'namespace/name' of the ConfigMap. */
  readonly #outcomes = new Map<string, Outcome>();

  set(configMap: string, outcome: Outcome): void {
    this.#outcomes.set(configMap, outcome);
  }

  /** Forgets the others. */
  keep(configMaps: ReadonlySet<string>): void {
    for (const known of this.#outcomes.keys()) if (!configMaps.has(known)) this.#outcomes.delete(known);
  }

  render(): readonly string[] {
    return [
      ...this.#family('replicas', 'Replicas that a ConfigMap asks for.', ({ replicas }) => replicas),
      ...this.#family('nodes', 'Nodes of the cluster, or of its node labels.', ({ size }) => size.nodes),
      ...this.#family('cores', 'Whole cores that pods may have of them.', ({ size }) => size.cores),
    ];
  }

  #family(suffix: string, help: string, valueOf: (outcome: Outcome) => number): string[] {
    const name = `capstan_proportional_autoscaler_${suffix}`;
    return [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} gauge`,
      ...Array.from(this.#outcomes, ([configMap, outcome]) =>
        seriesLine(name, label('configmap', configMap), valueOf(outcome)),
      ),
    ];
  }
}
