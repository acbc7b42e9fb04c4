/** Who wrote an object last, and when, by the object itself: for changes whose source does not know. Users are not in objects, their field managers are. */
import type { KubeObject } from '#machinery/object.ts';
import type { Change, Reveal } from './change.ts';

interface LastWriter {
  readonly timeMs?: number | undefined;
  readonly manager?: string | undefined;
  readonly subresource?: string | undefined;
}

/** The object of a delete is the one before it, which says nothing of who deleted it. */
export async function lastWriter(change: Change, reveal: Reveal): Promise<LastWriter> {
  if (change.operation === 'delete') return {};
  const json = await reveal(change);
  return json ? writerOf(parsed(json)) : {};
}

function parsed(json: Buffer): KubeObject {
  try {
    return JSON.parse(json.toString()) as KubeObject;
  } catch {
    return {};
  }
}

function writerOf({ metadata = {} }: KubeObject): LastWriter {
  const { managedFields = [], creationTimestamp, deletionTimestamp } = metadata;
  const [newest] = managedFields.toSorted((a, b) => (b.time ?? '').localeCompare(a.time ?? ''));
  const times = [creationTimestamp, newest?.time].flatMap((one) => (one ? [Date.parse(one)] : []));
  // A deletion timestamp may be in the future, by the grace period.
  if (deletionTimestamp)
    times.push(Date.parse(deletionTimestamp) - (metadata.deletionGracePeriodSeconds ?? 0) * 1000);
  const timeMs = Math.max(...times.filter((one) => !Number.isNaN(one)));
  return {
    timeMs: Number.isFinite(timeMs) ? timeMs : undefined,
    manager: newest?.manager,
    subresource: newest?.subresource || undefined,
  };
}
