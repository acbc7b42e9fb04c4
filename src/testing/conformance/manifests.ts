/** Short manifests for the tests of conformance behaviours. */
import type { Json } from './world.ts';

export function podSpec(more: Json = {}): Json {
  return { terminationGracePeriodSeconds: 0, containers: [{ name: 'main', image: 'pause:3.10', ...more }] };
}

export function pod(name: string, more: Json = {}): Json {
  const { labels, annotations, ...spec } = more as { labels?: object; annotations?: object };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: labels ?? {}, annotations: annotations ?? {} },
    spec: { ...podSpec(), ...spec },
  };
}

interface WorkloadOptions {
  readonly replicas?: number;
  /** Also of the object itself. Default { app: name }. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly image?: string;
  /** Merged into the spec. */
  readonly spec?: Json;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A Deployment, ReplicaSet, StatefulSet or DaemonSet. */
export function workload(kind: string, name: string, options: WorkloadOptions = {}): Json {
  const { replicas = 1, labels = { app: name }, image = 'pause:3.10', spec = {}, annotations = {} } = options;
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name, labels },
    spec: {
      ...(kind === 'DaemonSet' ? {} : { replicas }),
      ...(kind === 'StatefulSet' ? { serviceName: name } : {}),
      selector: { matchLabels: labels },
      template: { metadata: { labels, annotations }, spec: podSpec({ image }) },
      ...spec,
    },
  };
}

export function replicationController(
  name: string,
  { replicas = 1, labels = { app: name }, image = 'pause:3.10' }: WorkloadOptions = {},
): Json {
  return {
    apiVersion: 'v1',
    kind: 'ReplicationController',
    metadata: { name, labels },
    spec: { replicas, selector: labels, template: { metadata: { labels }, spec: podSpec({ image }) } },
  };
}
