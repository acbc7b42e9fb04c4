/**
 * Typed references to every built-in resource: `client.list(pods, { namespace })`. The plural in camel case names the preferred version
 * (replicaSets, csiDrivers); other versions carry theirs behind (horizontalPodAutoscalersV1). eventsEvents is events.k8s.io.
 */
export type { Ref } from './ref.ts';
export * from './generated/refs.ts';
