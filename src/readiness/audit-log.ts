/**
 * Requests of deprecated API versions in audit logs (audit.k8s.io/v1 as JSON, one event a line): by the annotations that upstream's API server sets too.
 * Newest files first, streamed, up to a bound; it says what it did not read. Nothing is kept of other events.
 */
import { readLogLines } from './log-lines.ts';

const MAXIMUM_BYTES = 256 * 2 ** 20;
/** Different resources; further ones are not told apart from none. */
const MAXIMUM_USES = 500;
const MAXIMUM_USERS = 20;
const MARK = '"k8s.io/deprecated"';

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
  const unread = await readLogLines(paths, {
    maximumBytes,
    onLine(line) {
      if (line.includes(MARK)) note(uses, line.toString('utf8'));
    },
  });
  return { uses: [...uses.values()], unread };
}

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
