/** Recording events (events.k8s.io semantics, core/v1 Events) about an object, for `kubectl describe`. */
import type { KubeObject } from '#machinery/object.ts';

export interface EventRecorder {
  /** Best effort, never throws, never awaited: repeated events are aggregated by count. message ≤ 1024 characters. */
  event(
    about: KubeObject,
    event: {
      readonly type: 'Normal' | 'Warning';
      readonly reason: string;
      readonly message: string;
      readonly action?: string;
      readonly fieldPath?: string;
      readonly annotations?: Readonly<Record<string, string>>;
    },
  ): void;
}
