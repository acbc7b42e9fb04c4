/** Decodes the body of a watch: one JSON event per line, in arbitrary chunks. Follows "Efficient detection of changes" of the API concepts. */
import type { KubeObject } from '#machinery/object.ts';
import { StatusError, type Status } from '#machinery/errors.ts';
import type { WatchEvent } from './client.ts';
import { TransportError } from './transport-error.ts';

/** Maximum length of an event: an object is at most 1.5 MB in the store, JSON in a request 3 MB. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Yields the events of each chunk together, so that a consumer wakes up once per chunk, not per event.
 * Throws StatusError for an ERROR event, after the events before it.
 */
export async function* decodeWatch<T extends KubeObject>(
  stream: AsyncIterable<Buffer>,
): AsyncGenerator<WatchEvent<T>[], void, void> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of stream) {
    const last = chunk.lastIndexOf(NEWLINE);
    if (last < 0) {
      rest.push(chunk);
      restBytes += chunk.length;
      if (restBytes > MAX_LINE_BYTES)
        throw new TransportError('protocol', `watch event is longer than ${MAX_LINE_BYTES} bytes`);
      continue;
    }
    const complete = chunk.subarray(0, last);
    const text =
      rest.length === 0 ? complete.toString('utf8') : Buffer.concat([...rest, complete]).toString('utf8');
    rest = last + 1 < chunk.length ? [chunk.subarray(last + 1)] : [];
    restBytes = chunk.length - last - 1;
    const { events, error } = parseLines<T>(text);
    if (events.length > 0) yield events;
    if (error) throw error;
  }
  const tail = Buffer.concat(rest).toString('utf8').trim();
  if (tail === '') return;
  const { events, error } = parseLines<T>(tail);
  if (events.length > 0) yield events;
  if (error) throw error;
}

function parseLines<T extends KubeObject>(text: string): { events: WatchEvent<T>[]; error?: Error } {
  const events: WatchEvent<T>[] = [];
  for (const line of text.split('\n')) {
    if (line === '' || line === '\r') continue;
    let event: { type: string; object: unknown };
    try {
      event = JSON.parse(line) as { type: string; object: unknown };
    } catch (error) {
      return { events, error: new TransportError('protocol', 'watch event is not valid JSON', error) };
    }
    if (event.type === 'ERROR') return { events, error: new StatusError(event.object as Status) };
    events.push(event as WatchEvent<T>);
  }
  return { events };
}
