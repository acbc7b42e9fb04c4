/**
 * Requests of deprecated API versions in audit logs (audit.k8s.io/v1 as JSON, one event a line): by the annotations that upstream's API server sets too.
 * Newest files first, streamed, up to a bound; it says what it did not read. Nothing is kept of other events.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { errorMessage } from '#stdx/log.ts';

/** Of all files together; of the newest file that does not fit its end is read. */
const MAXIMUM_BYTES = 256 * 2 ** 20;
/** Longer lines are passed over: an event with bodies of requests may be large. */
const MAXIMUM_LINE_BYTES = 4 * 2 ** 20;
/** Different resources; further ones are not told apart from none. */
const MAXIMUM_USES = 500;
const MAXIMUM_USERS = 20;
const MARK = '"k8s.io/deprecated"';
const NEWLINE = 0x0a;

interface DeprecatedUse {
  /** 'storage.k8s.io/v1beta1 volumeattributesclasses' */
  readonly name: string;
  /** '1.37'; '' where it is not known. */
  readonly removedRelease: string;
  requests: number;
  /** At most 20. */
  readonly users: Set<string>;
  lastMs: number;
}

interface AuditScan {
  readonly uses: readonly DeprecatedUse[];
  /** What was not read, and why. */
  readonly unread: readonly string[];
}

interface AuditEvent {
  readonly stage?: string;
  readonly user?: { readonly username?: string };
  readonly objectRef?: {
    readonly apiGroup?: string;
    readonly apiVersion?: string;
    readonly resource?: string;
  };
  readonly requestReceivedTimestamp?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Files that cannot be read are said, not thrown. */
export async function scanAuditLogs(
  paths: readonly string[],
  { maximumBytes = MAXIMUM_BYTES }: { readonly maximumBytes?: number } = {},
): Promise<AuditScan> {
  const uses = new Map<string, DeprecatedUse>();
  const unread: string[] = [];
  let left = maximumBytes;
  for (const { path, size } of await newestFirst(paths, unread)) {
    if (left <= 0) {
      unread.push(`${path}: older than the newest ${mebibytes(maximumBytes)} MiB`);
      continue;
    }
    const start = path.endsWith('.gz') ? 0 : Math.max(0, size - left);
    if (start > 0) unread.push(`${path}: its first ${mebibytes(start)} MiB`);
    try {
      const { readBytes, longLines, cut } = await scanFile(path, { start, left, uses });
      left -= readBytes;
      if (longLines > 0)
        unread.push(`${path}: ${longLines} events of more than ${mebibytes(MAXIMUM_LINE_BYTES)} MiB`);
      if (cut) unread.push(`${path}: what is beyond the bound of ${mebibytes(maximumBytes)} MiB`);
    } catch (error) {
      unread.push(`${path}: ${errorMessage(error)}`);
    }
  }
  return { uses: [...uses.values()], unread };
}

interface LogFile {
  readonly path: string;
  readonly size: number;
  readonly modifiedMs: number;
}

async function newestFirst(paths: readonly string[], unread: string[]): Promise<readonly LogFile[]> {
  const found: LogFile[] = [];
  for (const path of paths)
    try {
      const { size, mtimeMs: modifiedMs } = await stat(path);
      found.push({ path, size, modifiedMs });
    } catch (error) {
      unread.push(`${path}: ${errorMessage(error)}`);
    }
  return found.toSorted((a, b) => b.modifiedMs - a.modifiedMs);
}

interface Scanned {
  readonly readBytes: number;
  readonly longLines: number;
  /** Unpacked it was longer than what is left of the bound. */
  readonly cut: boolean;
}

async function scanFile(
  path: string,
  {
    start,
    left,
    uses,
  }: { readonly start: number; readonly left: number; readonly uses: Map<string, DeprecatedUse> },
): Promise<Scanned> {
  const file = createReadStream(path, { start });
  const stream = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  // Errors of the file do not pass through a pipe.
  if (stream !== file) file.on('error', (error) => stream.destroy(error));
  let readBytes = 0;
  let longLines = 0;
  let rest: Buffer[] = [];
  let restBytes = 0;
  const take = (line: Buffer): void => {
    if (line.length > MAXIMUM_LINE_BYTES) longLines += 1;
    else if (line.includes(MARK)) note(uses, line.toString('utf8'));
  };
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      readBytes += chunk.length;
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
        const piece = chunk.subarray(from, at);
        if (restBytes > MAXIMUM_LINE_BYTES) longLines += 1;
        else take(rest.length === 0 ? piece : Buffer.concat([...rest, piece]));
        rest = [];
        restBytes = 0;
        from = at + 1;
      }
      restBytes += chunk.length - from;
      if (restBytes > MAXIMUM_LINE_BYTES) rest = [];
      else rest.push(chunk.subarray(from));
      if (readBytes > left) return { readBytes, longLines, cut: true };
    }
  } finally {
    file.destroy();
  }
  if (restBytes > MAXIMUM_LINE_BYTES) longLines += 1;
  else take(Buffer.concat(rest));
  return { readBytes, longLines, cut: false };
}

/** The first line of a file whose beginning was left out, and the last one of a file that is being written, may be half a line. */
function note(uses: Map<string, DeprecatedUse>, line: string): void {
  let event: AuditEvent;
  try {
    event = JSON.parse(line) as AuditEvent;
  } catch {
    return;
  }
  const { annotations = {}, objectRef = {}, user, stage, requestReceivedTimestamp = '' } = event;
  if (annotations['k8s.io/deprecated'] !== 'true' || stage === 'RequestReceived') return;
  const { apiGroup = '', apiVersion = '', resource = '' } = objectRef;
  const name = `${apiGroup ? `${apiGroup}/` : ''}${apiVersion} ${resource}`;
  const use = uses.get(name) ?? {
    name,
    removedRelease: annotations['k8s.io/removed-release'] ?? '',
    requests: 0,
    users: new Set<string>(),
    lastMs: 0,
  };
  if (!uses.has(name) && uses.size >= MAXIMUM_USES) return;
  uses.set(name, use);
  use.requests += 1;
  if (user?.username && use.users.size < MAXIMUM_USERS) use.users.add(user.username);
  use.lastMs = Math.max(use.lastMs, Date.parse(requestReceivedTimestamp) || 0);
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}
