/** Short manifests of pods that do something. */
import type { Json } from '../bare-client.ts';
import { BUSYBOX, SERVER } from './images.ts';

export interface PodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Merged into the container. */
  readonly container?: Json;
  /** Merged into the spec. */
  readonly spec?: Json;
}

/** Runs one command and ends. */
export function task(
  name: string,
  script: string,
  { container = {}, spec = {}, labels = {}, annotations = {} }: PodOptions = {},
): Json {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels, annotations },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: BUSYBOX, command: ['sh', '-c', script], ...container }],
      ...spec,
    },
  };
}

/** Stays, for commands to be run in it. */
export function idle(name: string, options: PodOptions = {}): Json {
  return task(name, 'sleep 100000', options);
}

/** Of server.ts: HTTP on 8080, UDP on 8081, Ready when it answers. */
export function server(
  name: string,
  { container = {}, spec = {}, labels = {}, annotations = {} }: PodOptions = {},
): Json {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels, annotations },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: SERVER,
          readinessProbe: { httpGet: { path: '/health', port: 8080 }, periodSeconds: 1 },
          ...container,
        },
      ],
      ...spec,
    },
  };
}

export function service(name: string, spec: Json): Json {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name }, spec };
}
