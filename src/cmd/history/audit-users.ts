/**
 * The users of changes from this server's audit log, for changes of which nothing else knows the user. An event tells no revision, so a change is that of the nearest successful event on the
 * same object, of a verb that makes such a change, within two seconds; a name that the server generated is in no event.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import type { Change } from '#history/change.ts';
import { objectAt } from '#history/resource-name.ts';
import { readLogLines } from '#readiness/log-lines.ts';

const NEAR_MS = 2_000;
/** Of the log that is read at most, unpacked, its newest part. */
const MAXIMUM_BYTES = 512 * 1024 * 1024;
const VERBS: Readonly<Record<Change['operation'], readonly string[]>> = {
  create: ['create', 'update', 'patch'],
  update: ['update', 'patch', 'create', 'delete'],
  delete: ['delete', 'deletecollection', 'update', 'patch'],
};

interface AuditEvent {
  readonly stage?: string;
  readonly verb?: string;
  readonly user?: { readonly username?: string };
  readonly impersonatedUser?: { readonly username?: string };
  readonly objectRef?: {
    readonly resource?: string;
    readonly apiGroup?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly stageTimestamp?: string;
}

interface Seen {
  readonly timeMs: number;
  readonly verb: string;
  readonly user: string;
}

export class AuditUsers {
  readonly #path: string;

  /** path: of --audit-log-path. */
  constructor(path: string) {
    this.#path = path;
  }

  async usersOf(changes: readonly Change[]): Promise<ReadonlyMap<Change, string>> {
    const users = new Map<Change, string>();
    const timed = changes.filter(({ timeMs }) => timeMs !== undefined);
    if (timed.length === 0) return users;
    const events = await this.#events(new Set(timed.map(({ key }) => nameOf(key))), {
      fromMs: Math.min(...timed.map(({ timeMs }) => timeMs!)) - NEAR_MS,
    });
    for (const change of timed) {
      const user = nearest(events.get(nameOf(change.key)) ?? [], change);
      if (user !== undefined) users.set(change, user);
    }
    return users;
  }

  async #events(
    wanted: ReadonlySet<string>,
    { fromMs }: { readonly fromMs: number },
  ): Promise<Map<string, Seen[]>> {
    const events = new Map<string, Seen[]>();
    const onLine = (line: Buffer): void => {
      const event = parsed(line);
      const name = event && eventName(event);
      if (!event || name === undefined || !wanted.has(name)) return;
      const timeMs = Date.parse(event.stageTimestamp ?? '');
      const user = event.impersonatedUser?.username ?? event.user?.username ?? '';
      const known = events.get(name);
      const seen = { timeMs, verb: event.verb ?? '', user };
      if (known) known.push(seen);
      else events.set(name, [seen]);
    };
    await readLogLines(this.#files(fromMs), { maximumBytes: MAXIMUM_BYTES, onLine });
    return events;
  }

  /** Those that end after a time. */
  #files(fromMs: number): string[] {
    const extension = extname(this.#path);
    const stem = basename(this.#path, extension);
    return readdirSync(dirname(this.#path))
      .filter((name) => name.startsWith(stem) && (name.endsWith('.gz') || extname(name) === extension))
      .map((name) => join(dirname(this.#path), name))
      .filter((path) => (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) >= fromMs);
  }
}

function parsed(line: Buffer): AuditEvent | undefined {
  if (!line.includes('"ResponseComplete"')) return undefined;
  try {
    const event = JSON.parse(line.toString('utf8')) as AuditEvent;
    return (event.responseStatus?.code ?? 0) < 300 ? event : undefined;
  } catch {
    // A line that is being written.
    return undefined;
  }
}

function eventName({ objectRef: ref }: AuditEvent): string | undefined {
  if (ref?.resource === undefined || ref.name === undefined) return undefined;
  const resource = ref.apiGroup ? `${ref.resource}.${ref.apiGroup}` : ref.resource;
  return `${resource} ${ref.namespace ?? ''} ${ref.name}`;
}

function nameOf(key: string): string {
  const { resource, namespace, name } = objectAt(key);
  return `${resource} ${namespace ?? ''} ${name}`;
}

function nearest(events: readonly Seen[], { operation, timeMs = 0 }: Change): string | undefined {
  let best: Seen | undefined;
  for (const event of events) {
    if (!VERBS[operation].includes(event.verb) || Math.abs(event.timeMs - timeMs) > NEAR_MS) continue;
    if (!best || Math.abs(event.timeMs - timeMs) < Math.abs(best.timeMs - timeMs)) best = event;
  }
  return best?.user;
}
