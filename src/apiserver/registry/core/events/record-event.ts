/** Events that the API server itself records. The same event of any server is one object, whose count grows. */
import { hash } from 'node:crypto';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { InternalApi } from '../../loopback-client.ts';

const EVENTS = { group: '', resource: 'events' };

interface RecordedEvent {
  readonly regarding: KubeObject;
  readonly reason: string;
  readonly message: string;
  readonly component: string;
  readonly nowMs: number;
}

/** Records a warning event. Rejects where it cannot be stored. */
export async function recordEvent(
  internal: InternalApi,
  { regarding, reason, message, component, nowMs }: RecordedEvent,
): Promise<void> {
  const { kind, apiVersion, metadata: { name = '', namespace = 'default', uid } = {} } = regarding;
  const now = formatTime(nowMs);
  const id = hash('sha256', [kind, uid, reason, message].join('\0')).slice(0, 16);
  const metadata = { name: `${name}.${id}`, namespace };
  try {
    await internal.create(EVENTS, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata,
      involvedObject: { kind, apiVersion, name, namespace: regarding.metadata?.namespace, uid },
      reason,
      message,
      type: 'Warning',
      source: { component },
      reportingComponent: component,
      reportingInstance: '',
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    } as KubeObject);
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    await internal.modify(EVENTS, metadata, (event) => {
      event['count'] = Number(event['count'] ?? 1) + 1;
      event['lastTimestamp'] = now;
    });
  }
}
